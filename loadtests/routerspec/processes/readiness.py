"""Waiting until a server that was started answers, or the reason why it never will."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Final

from routerspec.errors import TargetNotReady
from routerspec.processes.child import Child, tail, words
from routerspec.processes.foreign import http_status
from routerspec.processes.listeners import older_listener
from routerspec.processes.ports import is_taken

ANSWER_WITHIN_S: Final = 2.0
_POLL_S: Final = 0.03
_NOT_FOUND: Final = 127
"""A shell's exit status for a missing command."""


class PortTaken(Exception):  # noqa: N818 - it names the state
    """Another process took the port first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that was started, and how it shows that it is up."""

    name: str
    """What it is called in messages."""
    child: Child
    url: str
    ready: str | None
    """Path that answers below 500 once it is up; None: its port takes connections."""
    within_s: float
    install: str
    """How to install it; empty: nobody says."""

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        return int(self.url.rsplit(":", 1)[1])


def await_ready(server: Server) -> None:
    """Poll until it answers, is alive, and no other process answers in its place.

    Raises TargetNotReady, or PortTaken where it exited since another listens on its port.
    """
    deadline = time.monotonic() + server.within_s
    seen = ""
    while time.monotonic() < deadline:
        ready, seen = _probe(server, deadline - time.monotonic())
        stranger = older_listener(server.port, server.child.pid) if ready else None
        if stranger is not None:
            seen = f"process {stranger}, which was there before, listens on port {server.port}"
        if (status := server.child.ended()) is not None:
            raise _ended_early(server, status)
        if ready and stranger is None:
            return
        time.sleep(_POLL_S)
    raise TargetNotReady(
        f"{server.name} did not become ready within {server.within_s:g} s: {seen}. "
        f"{tail(server.child.log)}"
    )


def not_started(name: str, program: str, error: OSError, install: str) -> TargetNotReady:
    """The error of a program that cannot be started at all."""
    return TargetNotReady(
        f"{name} cannot be started: {program}: {words(error)}.{_to_install(install)}"
    )


def _ended_early(server: Server, status: int) -> Exception:
    install = _to_install(server.install) if status == _NOT_FOUND else ""
    exited = f"{server.name} exited with status {status} before it was ready."
    fault = f"{exited}{install} {tail(server.child.log)}"
    return PortTaken(fault) if is_taken(server.port) else TargetNotReady(fault)


def _probe(server: Server, left_s: float) -> tuple[bool, str]:
    """(ready, observation)."""
    if server.ready is None:
        return is_taken(server.port), "nothing took a connection on its port"
    within_s = max(0.1, min(ANSWER_WITHIN_S, left_s))
    try:
        status = http_status(server.url, server.ready, within_s)
    except (OSError, http.client.HTTPException) as error:
        return False, f"GET {server.ready} had no answer ({words(error)})"
    return status < 500, f"GET {server.ready} was answered with {status}"


def _to_install(install: str) -> str:
    return f" To install it: {install}" if install else ""
