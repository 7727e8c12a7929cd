"""Ports and URLs of this machine: which are free, which are in use, which may be load-tested."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final
from urllib.parse import urlsplit

from routerspec.errors import UsageError
from routerspec.records.providers import base_of, further, instance_of

_CONNECT_WITHIN_S: Final = 2.0


INSTANCES_APART: Final = 10
"""Between the fixed ports of two instances of a provider."""
NO_INSTANCES: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class FakePorts:
    """The ports of the fakes. 0: any free one."""

    openai: int = 0
    ollama: int = 0
    control: int = 0
    anthropic: int = 0
    """Used only where the Anthropic fake is served."""

    @property
    def any_fixed(self) -> bool:
        """Whether one of them is stated, so that two processes cannot both have it."""
        return any(astuple(self))

    def used(
        self, *, anthropic: bool, instances: Mapping[str, int] = NO_INSTANCES
    ) -> tuple[int, ...]:
        """Those at which the fakes listen, with or without the Anthropic one.

        ``instances``: provider -> its number of servers.
        """
        first = (self.openai, self.ollama, self.control, *((self.anthropic,) if anthropic else ()))
        return (*first, *map(self.of, further(instances)))

    def of(self, instance: str) -> int:
        """That of a further instance of a provider: the first one's and ten for each."""
        first: int = getattr(self, base_of(instance))
        return first and first + INSTANCES_APART * (instance_of(instance) - 1)

    def words(self, *, anthropic: bool) -> str:
        """Those that are used, as the option ``--ports`` takes them."""
        return ",".join(map(str, self.used(anthropic=anthropic)))


FREE_PORTS: Final = FakePorts()
USUAL_PORTS: Final = FakePorts(openai=8001, ollama=11434, control=8002, anthropic=8003)
"""Where a router that runs already expects them."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now. Somebody else may still be quicker."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether a connection to 127.0.0.1:``port`` is accepted.

    Asked by connecting: a bind would succeed beside a server that shares its port, as HAProxy does.
    """
    with socket.socket() as sock:
        sock.settimeout(_CONNECT_WITHIN_S)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def checked_url(
    url: str,
    *,
    allow_remote: bool = False,
    permission: str = "--allow-remote",
    tls: bool = False,
) -> str:
    """``url`` without a trailing slash. Raises UsageError for one that cannot be meant.

    Load is put on this machine only, unless ``allow_remote`` says that the other one is yours;
    ``permission`` is the option that says so.
    ``tls``: whatever is sent there can be sent over TLS.
    """
    shown = url.rpartition("@")[2]  # a password is in no message
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{shown!r} is not a URL: {error}.") from None
    if "@" in url:
        raise UsageError(
            f"The URL of {shown!r} has a user name or a password in it, which would be shown and "
            "kept: leave them out, and pass a key with --key."
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError(f"{url!r} is not a URL: write for example http://127.0.0.1:8080.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"{url!r} has a path: write {parts.scheme}://{parts.netloc} alone.")
    if not allow_remote and not is_on_loopback(host):
        raise UsageError(
            f"{host} is another machine: load goes to 127.0.0.1, localhost or ::1 only. "
            f"Use {permission} if you may load-test it."
        )
    if parts.scheme == "https" and not tls:
        raise UsageError(
            f"{url!r} is reached over TLS, which the load generator does not speak: use the "
            "router's plain HTTP port, behind whatever terminates TLS."
        )
    return f"{parts.scheme}://{parts.netloc}"


def is_on_loopback(host: str | None) -> bool:
    """Whether only this machine reaches it: ``127.0.0.1``, ``localhost``, ``::1``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
