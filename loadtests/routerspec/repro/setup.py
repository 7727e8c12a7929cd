"""How the router of a run was started and which requests it got, for one start of the run.

Read from the run's folder or, for a published run, from the target file of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from routerspec.errors import UsageError
from routerspec.plan.starts import route_plans
from routerspec.processes.router import DEFAULT_KEYS, router_command
from routerspec.records import foreign
from routerspec.records.load_plan import LoadPlan
from routerspec.records.run import RouterCommand, RunInfo, StartInfo
from routerspec.targets import Target, load_target


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
        return plan, _command(folder, start.name)
    target = _target(info.target)
    plan = _plan(target, info, start)
    return plan, router_command(target, target.start, start.settings) if target.start else None


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """The text with these placeholders replaced; every other brace is literal."""
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], text) if values else text


def _command(folder: Path, start: str) -> RouterCommand | None:
    if not (folder / "starts" / start / "router.json").exists():
        return None
    return foreign.read_record(RouterCommand, folder, "starts", start, "router.json")


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
