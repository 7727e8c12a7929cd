"""How the router of a run was started and which requests it got, for one start of the run.

Read from the run's folder or, for a published run, from the target file of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from routerspec.errors import UsageError
from routerspec.plan.starts import route_plans
from routerspec.processes.router import DEFAULT_KEYS, router_command
from routerspec.records import foreign
from routerspec.records.load_plan import LoadPlan
from routerspec.records.run import RouterCommand, RunInfo, StartInfo
from routerspec.scrub import SECRETS
from routerspec.targets import Start, Target, fill, load_target
from routerspec.targets.sealing import sealed_headers, sealed_start


def setup_of(
    folder: Path, info: RunInfo, start: StartInfo
) -> tuple[LoadPlan, RouterCommand | None]:
    """The load plan of one start of the run in ``folder``, and how the router was started.

    None for a router that was running already. Raises UsageError for a published run whose target
    file is missing.
    """
    below = folder / "starts" / start.name
    if (below / "plan.json").exists():
        plan = foreign.read_record(LoadPlan, folder, "starts", start.name, "plan.json")
        return _with_script_keys(plan), _command(folder, start.name)
    target = _target(info.target)
    plan = _plan(target, info, start)
    if target.start is None:
        return plan, None
    return plan, _with_default_keys(router_command(target, target.start, start.settings))


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """The text with these placeholders replaced; every other brace is literal."""
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], text) if values else text


def _command(folder: Path, start: str) -> RouterCommand | None:
    if not (folder / "starts" / start / "router.json").exists():
        return None
    command = foreign.read_record(RouterCommand, folder, "starts", start, "router.json")
    if not command.references:  # an older run has its secrets in it
        its = Start(command=command.command, env=command.env, files=command.files)
        its = sealed_start(its)
        texts = (*its.command, *its.env.values(), *its.files.values())
        command = msgspec.structs.replace(
            command,
            command=its.command,
            env=its.env,
            files=its.files,
            references=SECRETS.references(texts),
        )
    return _with_default_keys(command)


def _with_default_keys(command: RouterCommand) -> RouterCommand:
    return msgspec.structs.replace(command, values={**command.values, **DEFAULT_KEYS})


def _with_script_keys(plan: LoadPlan) -> LoadPlan:
    """The plan with the keys of a script: ours by default, references for those of others."""

    def own(headers: Mapping[str, str]) -> dict[str, str]:
        """An older run has its keys in it."""
        read = dict(headers)
        for name, key in plan.secrets.items():
            read = {k: text.replace(key, f"{{{name}}}") for k, text in read.items()}
        read = sealed_headers(read, "plan.json")
        return {name: fill(text, DEFAULT_KEYS) for name, text in read.items()}

    replace = msgspec.structs.replace
    routes = tuple(replace(route, headers=own(route.headers)) for route in plan.routes)
    headers = own(plan.headers)
    every = [text for each in (headers, *(r.headers for r in routes)) for text in each.values()]
    return replace(
        plan,
        headers=headers,
        routes=routes,
        secrets=dict(DEFAULT_KEYS),
        references=plan.references or SECRETS.references(every),
    )


def _target(name: str) -> Target:
    try:
        return load_target(name)
    except UsageError as error:
        raise UsageError(
            f"A published run does not record how {name} was started, and there is no target file "
            "of that name: use the original run."
        ) from error


def _plan(target: Target, info: RunInfo, start: StartInfo) -> LoadPlan:
    return LoadPlan(
        token=start.token,
        folder="",
        routes=route_plans(target, DEFAULT_KEYS),
        headers=target.client_request_headers(DEFAULT_KEYS),
        list_path=target.list_path,
        promises=info.promises,
        scenarios=start.scenarios,
        seed=info.seed,
        secrets=dict(DEFAULT_KEYS),
    )
