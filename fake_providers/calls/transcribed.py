"""The bytes of one call, kept while it is open."""

from __future__ import annotations

from fake_providers.calls.canaries import Canaries
from fake_providers.http.exchange import Exchange, Sent
from fake_providers.http.heads import Headers
from fake_providers.http.request import HttpRequest as Arrived
from fake_providers.records.transcripts import (
    CallTranscript,
    Fields,
    HttpRequest,
    HttpResponse,
    body_of,
    fields_of,
)


class Transcribed:
    """What a call has brought, and what was sent so far."""

    def __init__(self, arrived: Arrived, exchange: Exchange, canaries: Canaries) -> None:
        """Keep what ``exchange`` sends from now on."""
        self._arrived = arrived
        self._exchange = exchange
        self._canaries = canaries
        exchange.sent = Sent()

    def record(self, provider: str, call: int) -> CallTranscript:
        """The record, without secrets."""
        arrived, hidden = self._arrived, self._canaries.hidden
        return CallTranscript(
            provider=provider,
            call=call,
            request=HttpRequest(
                method=arrived.method,
                target=hidden(arrived.target).decode("latin-1"),
                version=arrived.version,
                fields=self._fields(arrived.headers),
                body=body_of(hidden(arrived.body or b"")),
            ),
            response=self._response(),
        )

    def _response(self) -> HttpResponse | None:
        status, sent = self._exchange.status, self._exchange.sent
        if status is None or sent is None:
            return None
        body = body_of(self._canaries.hidden(bytes(sent.body)))
        return HttpResponse(status=status, fields=self._fields(sent.headers), body=body)

    def _fields(self, fields: Headers) -> Fields:
        return fields_of((name, self._canaries.hidden(value)) for name, value in fields)
