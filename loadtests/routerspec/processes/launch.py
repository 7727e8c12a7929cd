"""Start the fakes and the load; the router's start is in ``router``.

Each ``start_...`` returns a context manager: leaving it stops the process group. Several may run at
once, each with a folder of its own, all on free ports.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from routerspec.errors import HarnessError
from routerspec.processes import own_code
from routerspec.processes.child import Child, last_lines, tail, words
from routerspec.processes.handles import Fakes, Load, Router
from routerspec.processes.ports import FREE_PORTS, FakePorts, is_taken
from routerspec.processes.preloading import own_program_environment, start_of
from routerspec.processes.router import attach, placeholder_values, start_router
from routerspec.records.load_plan import ControlAccess

__all__ = [
    "Fakes",
    "Load",
    "Router",
    "attach",
    "last_lines",
    "placeholder_values",
    "start_fakes",
    "start_load",
    "start_router",
]

_FAKES_READY_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.005


class _Announcement(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    openai: str
    ollama: str
    anthropic: str | None = None
    control: str


# Made before there are threads: see ``play``.
_ANNOUNCEMENT = msgspec.json.Decoder(_Announcement)


def start_fakes(
    folder: Path,
    token: str,
    *,
    ports: FakePorts = FREE_PORTS,
    anthropic: bool = False,
    first_s: float | None = None,
    gap_s: float | None = None,
    tokens: int | None = None,
    profiles: Sequence[str] = (),
) -> Fakes:
    """Start the fakes; they listen when this returns.

    ``anthropic``: the Anthropic fake is served, too.
    ``profiles``: names of latency profiles, at most one a provider.

    Records go to ``folder/evidence.jsonl`` (which must not exist), output to ``folder/fakes.log``.
    Their control API takes orders from whoever has the handle's token, which is new for each start
    and which they read from their standard input.
    The process ends with ours, even if ours is killed. Raises HarnessError.
    """
    for port in ports.used(anthropic=anthropic):
        if port and is_taken(port):
            raise HarnessError(
                f"Port {port} is already in use: stop what listens there "
                f"(`ss -ltnp 'sport = :{port}'`), or give the fakes another port."
            )
    announce, ledger, log = folder / "fakes.json", folder / "evidence.jsonl", folder / "fakes.log"
    options: dict[str, object] = {
        "--openai-port": ports.openai,
        "--ollama-port": ports.ollama,
        "--anthropic-port": ports.anthropic if anthropic else "none",
        "--control-port": ports.control,
        "--ledger": ledger,
        "--run": token,
        "--announce": announce,
        "--first": first_s,
        "--gap": gap_s,
        "--tokens": tokens,
    }
    given = [word for name, value in options.items() if value is not None for word in (name, value)]
    given += [word for name in profiles for word in ("--profile", name)]
    given += ["--exit-with-stdin", "--control-token", "-"]
    control_token = secrets.token_hex(16)
    child = _start_own(["-m", "fake_providers", *map(str, given)], log, stdin_pipe=True)
    try:
        child.give(control_token)
        told = _await_announcement(child, announce, log)
    except BaseException:
        child.stop()
        raise
    return Fakes(
        child=child,
        log=log,
        openai_url=told.openai,
        ollama_url=told.ollama,
        anthropic_url=told.anthropic,
        control_url=told.control,
        control_token=control_token,
        ledger=ledger,
    )


def start_load(
    folder: Path,
    plan: Path,
    router_url: str,
    users: int,
    access: ControlAccess,
    *,
    env: Mapping[str, str] | None = None,
) -> Load:
    """Start Locust with a plan and ``users`` workers. Its output goes to ``folder/load.log``.

    ``access``: to the control API of the fakes, given over its standard input. ``env``: variables
    for it alone, such as the keys that the plan refers to.

    It runs in ``folder`` and without LOCUST_ variables, so that a user's own Locust settings change
    nothing. Locust's own logging is off: its tables would bury the last messages.
    Raises HarnessError when it cannot be started.
    """
    arguments = [
        *("-m", "locust", "-f", str(own_code.locustfile()), "--headless", "--skip-log-setup"),
        *("--host", router_url, "--users", str(users), "--spawn-rate", str(users)),
        *("--rs-plan", str(plan.resolve()), "--exit-code-on-error", "0"),
    ]
    log = folder / "load.log"
    child = _start_own(arguments, log, cwd=folder, stdin_pipe=True, stdout_pipe=True, extra_env=env)
    child.give(msgspec.json.encode(access).decode())
    return Load(child=child, log=log, stdout=child.lines())


def _start_own(
    arguments: list[str],
    log: Path,
    *,
    cwd: Path | None = None,
    stdin_pipe: bool = False,
    stdout_pipe: bool = False,
    extra_env: Mapping[str, str] | None = None,
) -> Child:
    env = own_program_environment() | dict(extra_env or {})
    try:
        return Child(
            own_code.own_python(*arguments),
            env=env,
            log=log,
            cwd=cwd,
            stdin_pipe=stdin_pipe,
            stdout_pipe=stdout_pipe,
            start=start_of(arguments[1]),
        )
    except OSError as error:
        raise HarnessError(
            f"python {' '.join(arguments[:2])} cannot be started: {words(error)}."
        ) from error


def _await_announcement(child: Child, announce: Path, log: Path) -> _Announcement:
    deadline = time.monotonic() + _FAKES_READY_WITHIN_S
    while time.monotonic() < deadline:
        if announce.exists():
            told = _ANNOUNCEMENT.decode(announce.read_bytes())
            announce.unlink()
            if told.pid == child.pid:
                return told
        if (status := child.ended()) is not None:
            raise HarnessError(
                f"The fakes exited with status {status} before they listened. {tail(log)}"
            )
        time.sleep(_POLL_S)
    raise HarnessError(f"The fakes did not listen within {_FAKES_READY_WITHIN_S:g} s. {tail(log)}")
