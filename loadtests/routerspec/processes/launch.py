"""Start the fakes and the load; the router's start is in ``router``.

Each ``start_...`` returns a context manager: leaving it stops the process group. Several may run at
once, each with a folder of its own, all on free ports.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from routerspec.errors import HarnessError
from routerspec.processes import own_code
from routerspec.processes.child import Child, last_lines, tail, words
from routerspec.processes.handles import Fakes, FurtherInstance, Load, Router
from routerspec.processes.ports import FREE_PORTS, FakePorts, free_port, is_taken
from routerspec.processes.preloading import own_program_environment, start_of
from routerspec.processes.router import attach, placeholder_values, start_router
from routerspec.records.load_plan import ControlAccess
from routerspec.records.providers import base_of, further, instance_of
from routerspec.records.run import evidence_file

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
_WORKERS_WITHIN_S: Final = "60"


class _Announcement(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    openai: str | None = None
    """None: it is not served, as in the next two."""
    ollama: str | None = None
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
    instances: Mapping[str, int] | None = None,
) -> Fakes:
    """Start the fakes; they listen when this returns.

    ``anthropic``: the Anthropic fake is served, too.
    ``profiles``: names of latency profiles, at most one a provider.
    ``instances``: provider -> its number of servers, where that is not 1. Each beyond the first is
    a process of its own, whose control API has a free port.

    Records go to ``folder/evidence.jsonl`` (which must not exist), output to ``folder/fakes.log``;
    those of a further instance to ``evidence-openai-2.jsonl`` and ``fakes-openai-2.log``.
    Their control API takes orders from whoever has the handle's token, which is new for each start
    and which they read from their standard input.
    The process ends with ours, even if ours is killed. Raises HarnessError.
    """
    instances = instances or {}
    for port in ports.used(anthropic=anthropic, instances=instances):
        if port and is_taken(port):
            raise HarnessError(
                f"Port {port} is already in use: stop what listens there "
                f"(`ss -ltnp 'sport = :{port}'`), or give the fakes another port."
            )
    usual = {"--first": first_s, "--gap": gap_s, "--tokens": tokens, "--run": token}
    control_token = secrets.token_hex(16)
    first = {
        "--openai-port": ports.openai,
        "--ollama-port": ports.ollama,
        "--anthropic-port": ports.anthropic if anthropic else "none",
        "--control-port": ports.control,
    }
    all_of_them = {"": first} | {
        name: _further(name, ports.of(name)) for name in further(instances)
    }
    with contextlib.ExitStack() as stack:
        starting = [
            _start_one(
                folder, name, {**options, **usual}, _of(name, profiles), control_token, stack=stack
            )
            for name, options in all_of_them.items()
        ]
        (its, told), *others = [(each, each.listening()) for each in starting]
        stack.pop_all()
    assert told.openai is not None
    assert told.ollama is not None
    return Fakes(
        child=its.child,
        log=its.log,
        openai_url=told.openai,
        ollama_url=told.ollama,
        anthropic_url=told.anthropic,
        control_url=told.control,
        control_token=control_token,
        ledger=its.ledger,
        further=tuple(
            FurtherInstance(
                child=its.child,
                log=its.log,
                name=its.name,
                url=getattr(told, base_of(its.name)),
                control_url=told.control,
                ledger=its.ledger,
            )
            for its, told in others
        ),
    )


def _further(name: str, port: int) -> dict[str, object]:
    """The ports of an instance beyond the first: it serves nothing else."""
    ports: dict[str, object] = {
        f"--{base}-port": port if base == base_of(name) else "none"
        for base in ("openai", "ollama", "anthropic")
    }
    return ports | {"--control-port": 0, "--instance": instance_of(name)}


def _of(name: str, profiles: Sequence[str]) -> Sequence[str]:
    """Those of these profiles that are of this instance's provider."""
    if not name or not profiles:
        return profiles
    from fake_providers.pacing.profiles import PROFILES  # noqa: PLC0415 - only where asked for

    return [each for each in profiles if PROFILES[each].provider == base_of(name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Starting:
    """A process of fakes that may not listen yet."""

    name: str
    """``openai-2``; empty: the first process."""
    child: Child
    announce: Path
    log: Path
    ledger: Path

    def listening(self) -> _Announcement:
        """Wait until it listens. Raises HarnessError."""
        return _await_announcement(self.child, self.announce, self.log)


def _start_one(
    folder: Path,
    name: str,
    options: Mapping[str, object],
    profiles: Sequence[str],
    control_token: str,
    *,
    stack: contextlib.ExitStack,
) -> _Starting:
    """Start one process of fakes, which leaving ``stack`` stops."""
    suffix = f"-{name}" if name else ""
    announce, log = folder / f"fakes{suffix}.json", folder / f"fakes{suffix}.log"
    ledger = folder / evidence_file(name)
    own = {**options, "--ledger": ledger, "--announce": announce}
    given = [word for key, value in own.items() if value is not None for word in (key, value)]
    given += [word for each in profiles for word in ("--profile", each)]
    given += ["--exit-with-stdin", "--control-token", "-"]
    child = _start_own(["-m", "fake_providers", *map(str, given)], log, stdin_pipe=True)
    stack.callback(child.stop)
    child.give(control_token)
    return _Starting(name=name, child=child, announce=announce, log=log, ledger=ledger)


def start_load(
    folder: Path,
    plan: Path,
    router_url: str,
    users: int,
    access: ControlAccess,
    *,
    env: Mapping[str, str] | None = None,
    processes: int = 0,
) -> Load:
    """Start Locust with a plan and ``users`` users. Its output goes to ``folder/load.log``.

    ``processes``: how many workers it forks, whose users these are; 0: they are its own.

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
        *(_forking(processes) if processes else ()),
    ]
    log = folder / "load.log"
    child = _start_own(arguments, log, cwd=folder, stdin_pipe=True, stdout_pipe=True, extra_env=env)
    child.give(msgspec.json.encode(access).decode())
    return Load(child=child, log=log, stdout=child.lines())


def _forking(processes: int) -> Sequence[str]:
    """Locust's options for workers, which meet their master on this machine alone."""
    here, port = "127.0.0.1", str(free_port())
    return (
        *("--processes", str(processes), "--expect-workers-max-wait", _WORKERS_WITHIN_S),
        *("--master-bind-host", here, "--master-bind-port", port),
        *("--master-host", here, "--master-port", port),
    )


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
