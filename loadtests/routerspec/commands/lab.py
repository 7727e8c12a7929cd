"""`routerspec lab`: fakes and a router that stay up, with the Locust commands to load them."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from fake_providers.pacing.profiles import PROFILES, select_profiles
from routerspec.commands import TARGET_HELP, spec
from routerspec.commands.lab_clients import client_lines
from routerspec.commands.leftovers import name_leftovers
from routerspec.errors import TargetNotReady, UsageError
from routerspec.markup.plain import clean
from routerspec.plan import arrivals
from routerspec.plan.starts import users_for
from routerspec.processes.launch import Fakes, Router, start_fakes, start_router
from routerspec.processes.own_code import CONTROL_VARIABLE, locust_command, locustfile
from routerspec.processes.router import DEFAULT_KEYS
from routerspec.records.run import RUNS, RunFolder, Settings
from routerspec.targets import Target, load_target

_CLOSED: Final = arrivals.Pattern()
_OPEN_S: Final = 5.0
"""An open loop gets one user for every request that arrives in this time."""
_OPEN_USERS: Final = 100
"""And at least this many."""
_CLOSED_USERS: Final = 24
"""A closed loop gets at most this many."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec lab``."""
    parser.add_argument("target", nargs="?", default="reference", help=TARGET_HELP)
    parser.add_argument(
        "--flaw", default="", metavar="NAME", help="seeded defect of the reference router to enable"
    )
    parser.add_argument(
        "--profile",
        action="append",
        choices=sorted(PROFILES),
        default=[],
        metavar="PROFILE",
        help="latency profile of the fakes, at most one per provider: "
        + ", ".join(sorted(PROFILES)),
    )
    parser.add_argument(
        "--anthropic",
        action="store_true",
        help="serve the fake Anthropic, too (default: if the target has a route to it)",
    )
    parser.add_argument(
        "--clients",
        action="store_true",
        help="print commands that send a request with the SDKs and curl, one for each front",
    )
    parser.add_argument(
        "--arrivals",
        choices=arrivals.KINDS,
        default=arrivals.CLOSED,
        help="arrivals in the printed commands; poisson and bursts are open loops",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="R",
        default=arrivals.USUAL_RATE,
        help=f"requests per second of an open loop (default {arrivals.USUAL_RATE:g})",
    )
    parser.set_defaults(command=_lab)


def _lab(options: argparse.Namespace) -> int:
    target = load_target(options.target)
    if options.flaw:
        spec.refuse_unknown_flaw(options.flaw, target)
    try:
        select_profiles(options.profile)
    except ValueError as error:
        raise UsageError(str(error)) from error
    users_for(target)  # Refuses a cap that cannot be tried.
    name_leftovers()
    return stay_up(
        target,
        options.flaw,
        RUNS.parent / "lab",
        Console(),
        profiles=options.profile,
        anthropic=options.anthropic,
        clients=options.clients,
        pattern=arrivals.Pattern(kind=options.arrivals, rate=options.rate),
    )


def stay_up(
    target: Target,
    flaw: str,
    runs: Path,
    console: Console,
    *,
    profiles: Sequence[str] = (),
    anthropic: bool = False,
    clients: bool = False,
    pattern: arrivals.Pattern = _CLOSED,
) -> int:
    """Start everything and wait for Ctrl-C. Raises TargetNotReady when a process exits by itself.

    ``profiles``: names of latency profiles of the fakes, at most one per provider. ``anthropic``:
    the Anthropic fake is served whatever the target needs. ``clients``: commands of clients are
    printed. ``pattern``: how requests arrive with the printed commands.
    """
    if target.start is None:
        raise UsageError(f"{target.name} has no [start] section, so the lab cannot start it.")
    settings = Settings.as_promised(target.promises)
    folder = RunFolder.create(runs, target.name).start("lab")
    extra = {"ROUTER_FLAW": flaw} if flaw else {}
    anthropic = anthropic or target.needs_anthropic
    with (
        start_fakes(
            folder, "", anthropic=anthropic, profiles=profiles, instances=target.instances
        ) as fakes,
        start_router(target, settings, fakes, folder, extra_env=extra) as router,
    ):
        lines = [*_servers(fakes, router), *_load(target, fakes, router, pattern)]
        lines += client_lines(target, router) if clients else []
        for line in (*lines, "", "Ctrl-C stops everything."):
            console.print(clean(line), markup=False, highlight=False, soft_wrap=True)
        while router.exited() is None and fakes.exited() is None:
            time.sleep(0.2)
        exited = "router" if fakes.exited() is None else "fakes process"
        raise TargetNotReady(f"The {exited} exited unexpectedly.")


def _servers(fakes: Fakes, router: Router) -> Iterator[str]:
    """What listens where."""
    yield f"router     {router.url}"
    yield f"openai     {fakes.openai_url}   (fake)"
    yield f"ollama     {fakes.ollama_url}   (fake)"
    if fakes.anthropic_url:
        yield f"anthropic  {fakes.anthropic_url}   (fake)"
    for each in fakes.further:
        yield f"{each.name:<10} {each.url}   (fake)"
    yield f"control    {fakes.control_url}/docs   (token {fakes.control_token})"
    for each in fakes.further:
        yield f"           {each.control_url}/docs   (of {each.name})"


def _load(
    target: Target, fakes: Fakes, router: Router, pattern: arrivals.Pattern
) -> tuple[str, ...]:
    """The Locust commands."""
    users = _users(target, pattern)
    common = (
        f"{CONTROL_VARIABLE}={fakes.control_token} {locust_command()} -f {locustfile()} "
        f"--host {router.url} --rs-fakes {fakes.control_urls} "
        f"--rs-target {target.title} --rs-key {DEFAULT_KEYS['client_key']}"
    )
    if pattern.is_open:
        common += f" --rs-arrivals {pattern.kind} --rs-rate {pattern.rate:g}"
    return (
        "",
        "Load it from Locust's web UI, at http://127.0.0.1:8089:",
        f"  {common} --web-host 127.0.0.1 -u {users} -r {users}",
        "Or headless, for 20 seconds, with the verdict at the end:",
        f"  {common} --headless -u {users} -r {users} -t 20s",
        "With several load processes: add --processes 2 to either. On several machines (see More",
        "than one machine in loadtests/README.md): add --master --expect-workers 2, and start each",
        "worker where it is to run:",
        f"  {_worker()}",
        _note(pattern, users),
    )


def _worker() -> str:
    """A worker has all but its key from its master."""
    return (
        f"{locust_command()} -f {locustfile()} --worker --master-host 127.0.0.1 "
        f"--rs-key {DEFAULT_KEYS['client_key']}"
    )


def _users(target: Target, pattern: arrivals.Pattern) -> int:
    if pattern.is_open:
        return max(_OPEN_USERS, math.ceil(_OPEN_S * pattern.rate))
    return min(users_for(target), _CLOSED_USERS)


def _note(pattern: arrivals.Pattern, users: int) -> str:
    if pattern.is_open:
        return f"Open loop, with at most {users} requests in flight (-u)."
    return "For an open loop: routerspec lab --arrivals poisson --rate 20, or bursts."
