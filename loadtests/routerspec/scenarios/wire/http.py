"""The forms that HTTP allows a request to have, each on a connection of its own.

A request in its usual form stands beside them. What is refused, broken or without an end is tried
again: a deadline accuses nobody before it was missed three times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import gevent.pool

from routerspec.limits import EXPECT_S, NO_END_S, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import ClientTranscript
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.model_lists import model_ids
from routerspec.scenarios.engine.raw_connection import RawRequest
from routerspec.scenarios.engine.registry import scenario

PLAIN: Final = "plain"
_AT_ONCE: Final = 4
_LATENCIES: Final = 20
_REFUSED: Final = 400
_WITHHELD: Final = 0.95
_CUT_AT: Final = 33
"""Where a body is cut into chunks."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A form of a request, by its name in the transcripts' ``part``."""

    part: str
    change: Callable[[RawRequest], RawRequest]


def _slash(request: RawRequest) -> RawRequest:
    return replace(request, target=f"{request.target}/")


def _query(request: RawRequest) -> RawRequest:
    return replace(request, target=f"{request.target}?api-version=2024-10-21&x=%2F")


def _chunked(request: RawRequest) -> RawRequest:
    body = request.body
    return request.in_chunks(body[:1], body[1:_CUT_AT], body[_CUT_AT:])


def _expect(request: RawRequest) -> RawRequest:
    return replace(request.with_fields(expect="100-continue"), withheld_s=EXPECT_S)


def _http_1_0(request: RawRequest) -> RawRequest:
    return replace(request.with_fields(connection=None), version="1.0")


def _close(request: RawRequest) -> RawRequest:
    return request.with_fields(connection="close")


def _accepting(coding: str) -> Callable[[RawRequest], RawRequest]:
    return lambda request: request.with_fields(accept_encoding=coding)


_ENDS: Final = (_Form("HTTP/1.0", _http_1_0), _Form("Connection: close", _close))
_CODINGS: Final = (_Form("identity", _accepting("identity")), _Form("gzip", _accepting("gzip")))
_BODIES: Final = (
    _Form("chunked", _chunked),
    _Form("100-continue", _expect),
    _Form("query", _query),
    _Form("slash", _slash),
)
_FORMS: Final = {"chat": (*_ENDS, *_CODINGS, *_BODIES), "stream": (*_ENDS, *_CODINGS)}
"""Of the other modes the usual form alone is sent."""


@scenario("wire-http")
def wire_http(conductor: Conductor) -> None:
    """Each route and mode in every form; the model list as HEAD, and its models by id."""
    with conductor.transcripts():
        _generations(conductor)
        _lists(conductor)


def _generations(conductor: Conductor) -> None:
    for route in conductor.plan.routes:
        for mode in route.modes:
            absent = (route.name, mode) in conductor.absent
            if absent and (route.name, mode) not in conductor.broken:
                continue
            usual = _Form(PLAIN, lambda request: request)
            # What is broken already in its usual form is tried in no other.
            forms = (usual,) * TRIES if absent else (usual, *_FORMS.get(mode, ()))
            _Cell(conductor, route, mode, tries=1 if absent else TRIES).play(forms)


class _Cell:
    """One route and mode."""

    def __init__(self, conductor: Conductor, route: RoutePlan, mode: str, *, tries: int) -> None:
        self._conductor, self._route, self._mode, self._tries = conductor, route, mode, tries
        latency_s = conductor.latency_s.get(route.name, 0.0)
        self._within_s = max(NO_END_S, _LATENCIES * latency_s)

    def play(self, forms: tuple[_Form, ...]) -> None:
        """Every form of the request, a few at once."""
        cap = self._conductor.plan.promises.cap
        at_once = gevent.pool.Pool(min(_AT_ONCE, cap.limit) if cap else _AT_ONCE)
        name, mode = self._route.name, self._mode
        with self._conductor.round(
            "wire-http", route=name, mode=mode, offered=len(forms)
        ) as round_:
            for form in forms:
                at_once.spawn(self._try, form, round_.number)
            at_once.join()

    def _try(self, form: _Form, round_number: int) -> None:
        for _ in range(self._tries):
            request = RawRequest.of(
                self._conductor.generation(
                    self._route, self._mode, round_number=round_number, tokens=2, text="utf8"
                )
            )
            if _is_good(self._ask(form.change(request), form.part, round_number)):
                return

    def _ask(self, request: RawRequest, part: str, round_number: int) -> ClientTranscript:
        connection = self._conductor.raw_connection(round_number)
        try:
            return connection.ask(request, part=part, within_s=self._within_s)
        finally:
            connection.close()


def _is_good(transcript: ClientTranscript) -> bool:
    """It was answered, and nothing has to be tried again."""
    answer = transcript.response
    if (transcript.withheld_ns or 0) >= _WITHHELD * EXPECT_S * 1e9:
        return False
    return bool(answer and answer.status < _REFUSED and transcript.ended and not transcript.fault)


def _lists(conductor: Conductor) -> None:
    with conductor.round("wire-http", offered=8, part="list") as round_:
        for part, request in _list_requests(conductor, round_.number):
            for _ in range(TRIES):
                if _is_good(_on_its_own(conductor, request, part, round_.number)):
                    break


def _list_requests(conductor: Conductor, number: int) -> Iterator[tuple[str, RawRequest]]:
    """The list as HEAD, and the first id with a slash in the spellings that a path may have."""
    usual = RawRequest.of(conductor.list_request(round_number=number))
    listed = _on_its_own(conductor, usual, PLAIN, number)
    yield "HEAD", replace(usual, method="HEAD")
    ids = _ids(listed)
    name = next((name for name in ids if "/" in name), ids[0] if ids else "")
    once = quote(name, safe="")
    for part, spelling in (("id", quote(name, safe="/:")), ("%2F", once), ("%252F", quote(once))):
        if name and ("/" in name or part == "id"):
            yield part, replace(usual, target=f"{usual.target}/{spelling}")


def _ids(listed: ClientTranscript) -> list[str]:
    body = listed.response.body.data if listed.response else None
    try:
        return [name for name in model_ids(body or b"") if "-epoch-" not in name]
    except ValueError:
        return []


def _on_its_own(
    conductor: Conductor, request: RawRequest, part: str, number: int
) -> ClientTranscript:
    connection = conductor.raw_connection(number)
    try:
        return connection.ask(request, part=part, within_s=NO_END_S)
    finally:
        connection.close()
