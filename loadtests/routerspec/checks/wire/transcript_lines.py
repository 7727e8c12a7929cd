"""The lines of a witness that show one request and its response as bytes."""

from __future__ import annotations

from typing import Final

from routerspec.checks import witness
from routerspec.history.history import PlayedRound
from routerspec.records.observations import ClientTranscript

_SHOWN: Final = 100
"""Bytes of a body."""
_FIELDS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "transfer-encoding",
    }
)


def lines(played: PlayedRound, transcript: ClientTranscript) -> tuple[str, str]:
    """The request, and what came back."""
    return request_line(played, transcript), response_line(played, transcript)


def request_line(played: PlayedRound, transcript: ClientTranscript) -> str:
    """What the client sent, and when."""
    request = transcript.request
    whose = f"nonce {transcript.nonce}: " if transcript.nonce else ""
    on = f" on connection {transcript.connection}" if transcript.connection else ""
    sent = f" {witness.at(played, transcript.sent_ns)}" if transcript.sent_ns is not None else ""
    return (
        f"{whose}sent{sent}{on}: {request.method} {request.target} HTTP/{request.version}"
        f"{_fields(request.fields)}, {request.body.length} bytes of body"
    )


def response_line(played: PlayedRound, transcript: ClientTranscript) -> str:
    """What the client received, and how it ended."""
    answer = transcript.response
    end = f" {witness.at(played, transcript.end_ns)}" if transcript.end_ns is not None else ""
    if answer is None:
        how = "the connection was closed" if transcript.lost else transcript.fault or "nothing came"
        return f"received: no head, {how}{end}"
    interim = "".join(f"{status}, then " for status in transcript.informational)
    body = answer.body.data
    shown = "" if not body else f": {body[:_SHOWN]!r}{' ...' if len(body) > _SHOWN else ''}"
    return (
        f"received: {interim}HTTP/{answer.version} {answer.status}{_fields(answer.fields)}, "
        f"{answer.body.length} bytes of body{shown}; {_ending(transcript)}{end}"
    )


def _ending(transcript: ClientTranscript) -> str:
    if transcript.fault:
        return transcript.fault
    after = f", and {transcript.surplus} bytes after it" if transcript.surplus else ""
    how = {"framed": "ended by its framing", "closed": "ended by a close"}
    return how.get(transcript.ended, "no end") + after


def _fields(fields: tuple[tuple[str, str], ...]) -> str:
    shown = [f"{name}: {value}" for name, value in fields if name.lower() in _FIELDS]
    return f" ({'; '.join(shown)})" if shown else ""
