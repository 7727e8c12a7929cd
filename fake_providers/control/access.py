"""Who may use the control API: whoever has the token, from a program on this machine.

A page in a browser is kept out by its Host and Origin headers. Routes that reveal nothing of a run
are open to all programs.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

from fake_providers.calls.host_guard import HostGuard
from fake_providers.control.routes import Rejected, Route
from fake_providers.http.request import HttpRequest

UNAUTHORIZED: Final = (
    "This needs the token of these fakes, as `Authorization: Bearer TOKEN`. They print it at their "
    "start, and --control-token sets it."
)
FOREIGN_HOST: Final = "The Host header names another machine: use 127.0.0.1 or localhost."
FOREIGN_ORIGIN: Final = "Pages of other origins may not use the control API."


class Access:
    """The rules of one control API."""

    def __init__(self, token: str, host: str) -> None:
        """``token`` empty: none is needed. ``host``: the address that the API listens on."""
        self._token = token.encode()
        self.needs_token = bool(token)
        self._hosts = HostGuard(host, "control")

    def check_headers(self, http_request: HttpRequest) -> None:
        """Raise Rejected for a page in a browser that is not the API's own."""
        headers = dict(reversed(http_request.headers))
        host = headers.get(b"host", b"")
        if not self._hosts.allows(host):
            raise Rejected(403, FOREIGN_HOST, refused="host")
        origin = headers.get(b"origin")
        if origin is not None and origin != b"http://" + host:
            raise Rejected(403, FOREIGN_ORIGIN, refused="origin")

    def check_token(self, http_request: HttpRequest, route: Route) -> None:
        """Raise Rejected unless the route is open or the request has the token."""
        if route.open_to_all or not self.needs_token:
            return
        for name, value in http_request.headers:
            if name == b"authorization":
                scheme, _, token = value.partition(b" ")
                if scheme.lower() == b"bearer" and compare_digest(token.strip(), self._token):
                    return
        raise Rejected(
            401, UNAUTHORIZED, refused="token", headers=[(b"www-authenticate", b"Bearer")]
        )
