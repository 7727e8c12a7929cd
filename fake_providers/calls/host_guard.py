"""A port's guard against foreign Host headers, which rejects pages in a browser that rebind DNS.

The Ollama port has it, as Ollama does, and the control port. A server that listens on other
addresses than loopback accepts every host.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Final

from fake_providers.http.answers import WholeAnswer

FORBIDDEN: Final = WholeAnswer(
    status=403, headers=[(b"content-length", b"0")], body=b"", finished=False
)
PRIVATE: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
"""What Go considers private; Python considers more."""
LOCAL_ENDINGS: Final = (".localhost", ".local", ".internal")
MAX_CACHED: Final = 1024
"""Hosts whose verdict is cached."""


def on_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


class HostGuard:
    """The guard of one server."""

    def __init__(self, listens_on: str, port: str = "Ollama") -> None:
        """``port``: its name, for the explanation of a refusal."""
        self._port = port
        self._off = not on_loopback(listens_on)
        self._known: dict[bytes, bool] = {}

    def allows(self, header: bytes) -> bool:
        """Whether a request with this Host header is allowed. A missing one is empty."""
        if self._off:
            return True
        if (allowed := self._known.get(header)) is None:
            allowed = is_local(_without_port(header.decode("latin-1")))
            if len(self._known) < MAX_CACHED:
                self._known[header] = allowed
                if not allowed:
                    print(_explanation(self._port, header), file=sys.stderr)  # noqa: T201 - a bare 403 says nothing
        return allowed


def is_local(host: str) -> bool:
    """Whether it is a name or an address of this machine, or of a private network."""
    if (address := _address(host)) is not None:
        private = any(address in network for network in PRIVATE)
        return address.is_loopback or private or address.is_unspecified or _is_own_address(host)
    name = host.lower()
    return name in {"", "localhost", socket.gethostname().lower()} or name.endswith(LOCAL_ENDINGS)


def _is_own_address(address: str) -> bool:
    """Whether an interface of this machine has the address: no other can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.bind((address, 0))
        except OSError:
            return False
    return True


def _explanation(port: str, header: bytes) -> str:
    return (
        f"The {port} port answered 403 to a request for host {header.decode('latin-1')!r}, as "
        "Ollama does when it listens on loopback only. Use 127.0.0.1 or localhost in the client, "
        "or start the fakes with --host 0.0.0.0."
    )


def _without_port(header: str) -> str:
    """Split as Go does: anything but ``host:port`` stays as it is."""
    if header.startswith("["):
        host, bracket, rest = header[1:].partition("]")
        return host if bracket and rest.startswith(":") else header
    host, colon, _ = header.rpartition(":")
    return host if colon and ":" not in host else header


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
