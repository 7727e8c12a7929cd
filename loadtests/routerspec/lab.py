"""A router and its fakes that stay up, with the lines to paste that put load on them.

Decides what is started and what is said about it. Refuses to make any load itself: that is
Locust's, in its own web UI or headless.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from routerspec.errors import TargetNotReady, UsageError
from routerspec.plan.arrivals import Pattern
from routerspec.plan.starts import users_for
from routerspec.processes.launch import Fakes, Router, start_fakes, start_router
from routerspec.processes.own_code import locustfile
from routerspec.processes.router import new_keys
from routerspec.records.run import RunFolder, Settings
from routerspec.targets import Target

_CLOSED: Final = Pattern()
_OPEN_S: Final = 5.0
"""In open loop there are users for all that arrive in so long."""
_OPEN_USERS: Final = 100
"""And at least so many."""


def stay_up(
    target: Target,
    flaw: str,
    runs: Path,
    console: Console,
    *,
    profiles: Sequence[str] = (),
    pattern: Pattern = _CLOSED,
) -> int:
    """Start everything and wait for Ctrl-C. Raises TargetNotReady when something ends by itself.

    ``profiles``: names of latency profiles of the fakes, at most one a provider.
    ``pattern``: how requests arrive by the lines that are printed.
    """
    if target.start is None:
        raise UsageError(f"{target.name} has no [start]: the lab cannot start it.")
    settings = Settings.as_promised(target.promises)
    folder = RunFolder.create(runs, target.name).start("lab")
    keys = new_keys()
    extra = {"ROUTER_FLAW": flaw} if flaw else {}
    with (
        start_fakes(folder, "", profiles=profiles) as fakes,
        start_router(target, settings, fakes, folder, keys=keys, extra_env=extra) as router,
    ):
        for line in _lines(target, fakes, router, keys["client_key"], pattern):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        while router.exited() is None and fakes.exited() is None:
            time.sleep(0.2)
        raise TargetNotReady(
            f"The {'router' if fakes.exited() is None else 'fakes'} ended by itself."
        )


def _lines(
    target: Target, fakes: Fakes, router: Router, key: str, pattern: Pattern
) -> tuple[str, ...]:
    locust = shutil.which("locust") or f"{sys.executable} -m locust"
    users = _users(target, pattern)
    common = (
        f"{locust} -f {locustfile()} --host {router.url} --rs-fakes {fakes.control_url} "
        f"--rs-target {target.title} --rs-key {key}"
    )
    if pattern.is_open:
        common += f" --rs-arrivals {pattern.kind} --rs-rate {pattern.rate:g}"
    return (
        f"router   {router.url}",
        f"openai   {fakes.openai_url}   (fake)",
        f"ollama   {fakes.ollama_url}   (fake)",
        f"control  {fakes.control_url}/docs",
        "",
        "Load it from a browser, at http://127.0.0.1:8089:",
        f"  {common} --web-host 127.0.0.1 -u {users} -r {users}",
        "Or without one, for 20 seconds, judged at the end:",
        f"  {common} --headless -u {users} -r {users} -t 20s",
        *_about(pattern, users),
        "",
        "Ctrl-C ends everything.",
    )


def _users(target: Target, pattern: Pattern) -> int:
    if pattern.is_open:
        return max(_OPEN_USERS, math.ceil(_OPEN_S * pattern.rate))
    return min(users_for(target), 24)


def _about(pattern: Pattern, users: int) -> tuple[str, ...]:
    if pattern.is_open:
        return (f"In open loop, at most {users} requests under way at once (-u).",)
    return (
        "In open loop, as callers come who do not know of each other: "
        "routerspec lab --arrivals poisson --rate 20, or bursts.",
    )
