"""The rules of HTTP that one response can break, and where each is written. Pure.

A rule looks at the bytes of one request and its response and returns what is wrong, or nothing.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Final

from fake_providers.records.transcripts import HttpResponse
from routerspec.records.observations import STREAMED, ClientTranscript

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
_LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", JSON)
_STRAY: Final = 2
"""Bytes after the end that may be a stray line end."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_CLOSED: Final = ("closed ", "a head of more")
_SECTIONS: Final = (
    ("both Content-Length", "RFC 9112, 6.2"),
    ("an invalid Content-Length", "RFC 9110, 8.6"),
    ("a malformed field", "RFC 9112, 5.1"),
    ("no size of a chunk", "RFC 9112, 7.1"),
    ("a chunk is longer", "RFC 9112, 7.1"),
    ("no line where a chunk", "RFC 9112, 7.1"),
    ("not HTTP", "RFC 9112, 4"),
    ("closed", "RFC 9112, 8"),
)


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a response breaks."""

    what: str
    """A clause about the response."""
    section: str
    """``RFC 9112, 6.2``."""


def fault(transcript: ClientTranscript) -> str:
    """What the reader found wrong about the framing, without the name of the exception."""
    return transcript.fault.removeprefix("BrokenResponse: ")


def is_cut(transcript: ClientTranscript) -> bool:
    """The connection was closed in the middle of the response, or the reader gave up."""
    return fault(transcript).startswith(_CLOSED)


def section_of(what: str) -> str:
    """Where the rule is written that this fault of the framing breaks."""
    return next((at for begin, at in _SECTIONS if what.startswith(begin)), "RFC 9112")


def framing(transcript: ClientTranscript) -> Broken | None:
    """The head, the lengths and the chunks."""
    what = fault(transcript)
    if what and not is_cut(transcript) and not what.startswith("ConnectionResetError"):
        return Broken(what, section_of(what))
    return None


def surplus(transcript: ClientTranscript) -> Broken | None:
    """Nothing comes after the end. A HEAD's content and a stray line end are left to others."""
    if transcript.request.method == "HEAD" or transcript.surplus <= _STRAY:
        return None
    what = f"{transcript.surplus} bytes came after the end that its {_end(transcript)} says"
    return Broken(what, "RFC 9112, 6.3")


def _end(transcript: ClientTranscript) -> str:
    return "Content-Length" if transcript.framing == "length" else "last chunk"


def content_type(transcript: ClientTranscript, mode: str, front: str) -> Broken | None:
    """A good answer has the type that the clients of its dialect parse."""
    answer = _good(transcript)
    if answer is None:
        return None
    stated = ", ".join(answer.values("content-type"))
    kind = stated.partition(";")[0].strip().lower()
    events = mode in STREAMED and front != "ollama"
    if mode in STREAMED:
        # Without a type a client cannot tell, and most go on.
        allowed = (EVENTS,) if events else _LINES
        right = not kind or kind in allowed
    else:
        right = kind == JSON or kind.endswith("+json")
    if right:
        return None
    wanted = EVENTS if events else JSON
    what = f"its Content-Type is {stated or 'missing'}, and its content is {wanted}"
    return Broken(what, "RFC 9110, 8.3")


def content_coding(transcript: ClientTranscript) -> Broken | None:
    """The content is coded as Content-Encoding says, and not where the client refused that."""
    answer = _good(transcript)
    body = answer.body.data if answer is not None else None
    if answer is None or not body or not transcript.ended:
        return None
    coding = ", ".join(answer.values("content-encoding")).strip().lower()
    if coding in {"", "identity"}:
        if body.startswith(_GZIP_MAGIC):
            return Broken("its content is gzip, and no Content-Encoding says so", "RFC 9110, 8.4")
        return None
    if decoded(body, coding) is None:
        return Broken(f"its content is not {coding}, as Content-Encoding says", "RFC 9110, 8.4")
    accepted = ", ".join(transcript.request.values("accept-encoding")).strip().lower()
    if accepted == "identity":
        return Broken(f"it is {coding}, and its client accepts identity only", "RFC 9110, 12.5.3")
    return None


def decoded(body: bytes, coding: str) -> bytes | None:
    """The content without its coding; None: it has another. What cannot be decoded here is kept."""
    if coding in {"", "identity"}:
        return body
    if coding in {"gzip", "x-gzip"}:
        return _inflated(body, 31)
    if coding == "deflate":
        plain = _inflated(body, zlib.MAX_WBITS)
        return _inflated(body, -zlib.MAX_WBITS) if plain is None else plain
    return None if is_json(body) or body.startswith((b"data:", b"event:", b":")) else body


def _inflated(body: bytes, wbits: int) -> bytes | None:
    try:
        return zlib.decompressobj(wbits).decompress(body)
    except zlib.error:
        return None


def length(transcript: ClientTranscript, mode: str) -> Broken | None:
    """Content-Length does not end a JSON body before its end."""
    answer = _good(transcript)
    if answer is None or mode in STREAMED or transcript.framing != "length":
        return None
    body = answer.body.data
    if body is None or not transcript.ended or any(answer.values("content-encoding")):
        return None
    if is_json(body) or not body.lstrip().startswith((b"{", b"[")):
        return None
    what = f"its Content-Length of {len(body)} ends its JSON too early"
    return Broken(what, "RFC 9110, 8.6")


def is_json(body: bytes) -> bool:
    """It is one JSON value."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _good(transcript: ClientTranscript) -> HttpResponse | None:
    answer = transcript.response
    return answer if answer is not None and answer.status == 200 else None
