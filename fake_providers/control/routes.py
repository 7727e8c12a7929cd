"""The table of the control API's routes, and how a request finds its handler.

Handlers are plain functions from a parsed request to a whole answer or a file; what they raise as
``Rejected`` becomes ``{"detail": "a sentence"}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import msgspec

from fake_providers.http.answers import WholeAnswer, whole_answer
from fake_providers.http.exchange import Exchange
from fake_providers.http.heads import Headers
from fake_providers.http.request import HttpRequest
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import ControlCall, Refused

JSON: Final = b"application/json"
MAX_BODY: Final = 1024 * 1024
MAX_RECORDED_PATH: Final = 200
NAME_PATTERN: Final = "^[a-z0-9_.-]{1,64}$"
"""Of ``{name}`` in a path."""
READ_SIZE: Final = 256 * 1024
SEE_DOCS: Final = "GET /docs describes the routes."

_NAME: Final = re.compile(NAME_PATTERN.removesuffix("$"))


class Rejected(Exception):  # noqa: N818 - it names the state
    """The request is answered with this error."""

    def __init__(
        self, status: int, detail: str, *, headers: Headers = (), refused: Refused = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.refused = refused
        """Whoever sent it may not use the API; empty: the request itself is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A request that has found its route."""

    name: str
    """``{name}`` of the path; empty where it has none."""
    query: bytes
    body: Any
    """Of the route's type; None: the route takes no body, or an optional one is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnswer:
    """The first ``size`` bytes of a file, then ``last``."""

    content_type: bytes
    path: Path
    size: int
    last: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    """May contain ``{name}`` once, as a whole segment."""
    summary: str
    handle: Callable[[Parsed], WholeAnswer | FileAnswer]
    body: Any = None
    """The type of its JSON body; None: it takes none, and one that is sent is ignored."""
    body_required: bool = True
    content_type: bytes = JSON
    """Of the answer."""
    flags: tuple[str, ...] = ()
    """Names of boolean query parameters."""
    errors: tuple[tuple[int, str], ...] = ()
    """(status, description) of errors other than those of every route."""
    open_to_all: bool = False
    """It needs no token: it changes nothing, and reveals nothing of a run."""

    @property
    def changes(self) -> bool:
        """It changes how the fakes behave."""
        return self.method != "GET"


class Access(Protocol):
    """Who may use the API. Both checks raise Rejected."""

    needs_token: bool

    def check_headers(self, http_request: HttpRequest) -> None:
        """Check the headers, which are judged first."""

    def check_token(self, http_request: HttpRequest, route: Route) -> None:
        """Check the token."""


class Router:
    """Answers requests by a table of routes, and records those that matter to a judge."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        access: Access,
        clock: Clock,
        record: Callable[[ControlCall], None],
    ) -> None:
        self._access, self._clock, self._record = access, clock, record
        self._paths: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._paths.setdefault(route.path, {})[route.method] = route
        # Not strict: to JSON, 2.0 is an integer as well.
        self._decoders = {
            id(route): msgspec.json.Decoder(route.body, strict=False)
            for route in routes
            if route.body
        }

    async def answer(self, http_request: HttpRequest, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            answer = self._handle(http_request)
        except Rejected as error:
            if error.refused:
                self._record_call(http_request, error.status, error.refused)
            answer = json_answer({"detail": str(error)}, status=error.status, headers=error.headers)
        if isinstance(answer, FileAnswer):
            await _send_file(exchange, answer)
        else:
            message = await exchange.prepare(answer.status, answer.headers, answer.body)
            exchange.send_prepared(answer.status, message, len(answer.body))

    def _record_call(self, http_request: HttpRequest, status: int, refused: Refused) -> None:
        self._record(
            ControlCall(
                at_ns=self._clock.stamp(),
                method=http_request.method,
                path=http_request.path[:MAX_RECORDED_PATH],
                status=status,
                refused=refused,
            )
        )

    def _handle(self, http_request: HttpRequest) -> WholeAnswer | FileAnswer:
        self._access.check_headers(http_request)
        methods, name = self._find(http_request.path)
        route = methods.get(http_request.method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise Rejected(
                405,
                f"{http_request.path} accepts {allowed} only.",
                headers=[(b"allow", allowed.encode())],
            )
        self._access.check_token(http_request, route)
        if http_request.body is None:
            raise Rejected(413, f"The body is longer than {MAX_BODY} bytes.")
        if "{name}" in route.path and not _NAME.fullmatch(name):
            raise Rejected(422, f"path.name: {name[:80]!r} does not match {NAME_PATTERN}.")
        body = self._body(route, http_request) if route.body else None
        answer = route.handle(Parsed(name=name, query=http_request.query, body=body))
        if route.changes:
            self._record_call(http_request, 200, "")
        return answer

    def _find(self, path: str) -> tuple[dict[str, Route], str]:
        """The routes of a path by method, and its name."""
        if methods := self._paths.get(path):
            return methods, ""
        parts = path.split("/")
        for index in range(2, len(parts)):
            template = "/".join((*parts[:index], "{name}", *parts[index + 1 :]))
            if methods := self._paths.get(template):
                return methods, parts[index]
        raise Rejected(404, f"Nothing is at this path. {SEE_DOCS}")

    def _body(self, route: Route, http_request: HttpRequest) -> Any:
        data = http_request.body
        if not data:
            if route.body_required:
                raise Rejected(422, f"body: a JSON object is required. {SEE_DOCS}")
            return None
        if not _is_json(http_request.headers):
            raise Rejected(422, "body: send it with the header Content-Type: application/json.")
        try:
            return self._decoders[id(route)].decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Rejected(422, f"body: {error}.") from None


def json_answer(content: object, *, status: int = 200, headers: Headers = ()) -> WholeAnswer:
    """An answer in JSON."""
    return whole_answer(status, JSON, msgspec.json.encode(content), extra=headers)


def flag(parsed: Parsed, name: str) -> bool:
    """A boolean query parameter; False if it is missing."""
    fields = parse_qs(parsed.query.decode("latin-1"), keep_blank_values=True)
    value = fields.get(name, ["false"])[-1].lower()
    if value not in {"true", "1", "false", "0"}:
        raise Rejected(422, f"query.{name}: {value[:80]!r} is neither true nor false.")
    return value in {"true", "1"}


def _is_json(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            return kind == JSON or (kind.startswith(b"application/") and kind.endswith(b"+json"))
    return False


async def _send_file(exchange: Exchange, answer: FileAnswer) -> None:
    left = answer.size
    length = left + len(answer.last)
    with answer.path.open("rb") as file:
        await exchange.head(
            200, [(b"content-type", answer.content_type), (b"content-length", b"%d" % length)]
        )
        while left and not exchange.disconnected and (part := file.read(min(left, READ_SIZE))):
            left -= len(part)
            await exchange.body(part, last=False)
    # A file that is shorter than it was leaves the answer incomplete, and its client notices.
    if not left:
        await exchange.body(answer.last, last=True)
    elif not exchange.disconnected:
        exchange.close()
