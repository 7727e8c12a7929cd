"""The ports: bound before anything else is begun, and what to say when one cannot be had.

Decides the words and that all ports are tried. Refuses to know what listens on them.
"""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Mapping


class StartFailed(Exception):  # noqa: N818 - it names the state
    """The process cannot begin; the message is one sentence."""


def bind(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """A socket for each port (0: a free one). Raises StartFailed, naming all that are taken."""
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
            why = error.strerror or str(error)
            failed.append(f"the {name} port {host}:{port} cannot be had: {why}")
    if failed:
        for each in bound.values():
            each.close()
        said = "; ".join(failed)
        raise StartFailed(f"{said[0].upper()}{said[1:]} (a port of 0 is a free one).")
    return bound


def allow_many_connections() -> None:
    """A flood of connections must not use up what this process may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def url_of(host: str, one: socket.socket) -> str:
    """Where a bound socket is reached from this machine."""
    port = one.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
