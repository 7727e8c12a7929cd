"""The ports: all bound before anything else starts, so that one error names all that are taken."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Mapping


class StartFailed(Exception):  # noqa: N818 - it names the state
    """The process cannot start; the message is one sentence."""


def bind(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """A socket for each port (0: a free one). Raises StartFailed, which names all that failed."""
    bound: dict[str, socket.socket] = {}
    failed = []
    for name, port in ports.items():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        one = socket.socket(family, socket.SOCK_STREAM)
        bound[name] = one
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            failed.append(f"the {name} port {host}:{port} is not available: {reason}")
    if failed:
        for each in bound.values():
            each.close()
        text = "; ".join(failed)
        raise StartFailed(f"{text[0].upper()}{text[1:]} (port 0 picks a free one).")
    return bound


def bind_udp(host: str, name: str, beside: socket.socket) -> socket.socket:
    """A UDP socket on the number of a bound one. Raises StartFailed."""
    port = beside.getsockname()[1]
    one = socket.socket(beside.family, socket.SOCK_DGRAM)
    one.setblocking(False)
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        reason = error.strerror or str(error)
        raise StartFailed(
            f"The {name} port {host}:{port} (UDP) is not available: {reason}."
        ) from error
    return one


def allow_many_connections() -> None:
    """Raise the limit of open files, so that a flood of connections does not exhaust it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def url_of(host: str, one: socket.socket) -> str:
    """The URL of a bound socket, as reached from this machine."""
    port = one.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
