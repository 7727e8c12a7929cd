"""How the router of a run was started, and how it was asked.

Decides where that is read: in the run's own folder, or, for a published run, which has neither, in
the target file of that name. Refuses to know what is to be shown.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from routerspec.errors import UsageError
from routerspec.plan.starts import route_plans
from routerspec.processes.router import DEFAULT_KEYS, router_command
from routerspec.records.load_plan import LoadPlan, read_plan
from routerspec.records.run import RouterCommand, RunInfo, StartInfo
from routerspec.targets import Target, load_target


def asked(folder: Path, info: RunInfo, start: StartInfo) -> tuple[LoadPlan, RouterCommand | None]:
    """The plan of one start of the run in ``folder``, and the router's words.

    No words for a router that was running already. Raises UsageError for a published run of a
    target that is not here.
    """
    below = folder / "starts" / start.name
    if (below / "plan.json").exists():
        return read_plan(below / "plan.json"), _words(below / "router.json")
    target = _target(info.target)
    plan = _plan(target, info, start)
    return plan, router_command(target, target.start, start.settings) if target.start else None


def _words(path: Path) -> RouterCommand | None:
    return msgspec.json.decode(path.read_bytes(), type=RouterCommand) if path.exists() else None


def _target(name: str) -> Target:
    try:
        return load_target(name)
    except UsageError as error:
        raise UsageError(
            f"This run was published, so it does not tell how {name} was started, and its target "
            "file is not here: ask for the same with the run that was published."
        ) from error


def _plan(target: Target, info: RunInfo, start: StartInfo) -> LoadPlan:
    return LoadPlan(
        token=start.token,
        folder="",
        control="",
        routes=route_plans(target, DEFAULT_KEYS),
        headers=target.client_request_headers(DEFAULT_KEYS),
        list_path=target.list_path,
        promises=info.promises,
        scenarios=start.scenarios,
        seed=info.seed,
        secrets=dict(DEFAULT_KEYS),
    )
