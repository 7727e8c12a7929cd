"""Transcripts: requests and responses as their bytes were, for checks that compare both sides.

They are written only while somebody wants them (``POST /control/transcripts``): a transcript is
much longer than the record of its call. Whoever writes one hides secrets first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes of a body that are kept; of a longer one only its length and its hash."""
MAX_PACKED: Final = 512 * 1024
"""The same of the packed form."""

Fields = tuple[tuple[str, str], ...]
"""The fields of a head, in order, as they were written; bytes beyond ASCII as ISO 8859-1."""

_HIDDEN: Final = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key"})
"""Fields whose value is a key."""
HIDDEN: Final = "***"


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A body without the framing of its message."""

    length: int
    sha256: str
    """Of all of it, 64 hex digits."""
    packed: bytes = b""
    """All of it, compressed; empty where it is too long, or has no bytes."""
    text: str = ""
    """The same as text, in place of ``packed``, in a file that is compressed as a whole."""

    @property
    def data(self) -> bytes | None:
        """All of it; None where it was too long to be kept."""
        if not self.length:
            return b""
        if self.text:
            return self.text.encode()
        return zlib.decompress(self.packed) if self.packed else None

    def as_text(self) -> Body:
        """The same body, as text where it is one."""
        try:
            text = (self.data or b"").decode()
        except UnicodeDecodeError:
            return self
        return Body(length=self.length, sha256=self.sha256, text=text) if text else self


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as one side wrote it, or the other read it."""

    method: str
    target: str
    """As in the request line, with its query."""
    version: str
    """``1.1``."""
    fields: Fields
    body: Body

    def values(self, name: str) -> tuple[str, ...]:
        """The values of this field, in order. ``name`` in lower case."""
        return _values(self.fields, name)


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response, as far as it was written or read."""

    status: int
    version: str = "1.1"
    fields: Fields
    body: Body

    def values(self, name: str) -> tuple[str, ...]:
        """The values of this field, in order. ``name`` in lower case."""
        return _values(self.fields, name)


class CallTranscript(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="call_transcript"
):
    """What a provider read and wrote in one call; its record comes just before it."""

    provider: str
    call: int
    """See ``evidence.Call``."""
    request: HttpRequest
    response: HttpResponse | None
    """As far as it was sent; None: no head was sent."""


def body_of(data: bytes) -> Body:
    """The record of a body whose secrets are hidden already."""
    packed = b""
    if data and len(data) <= MAX_BODY:
        packed = zlib.compress(data, 1)
    return Body(
        length=len(data),
        sha256=sha256(data).hexdigest(),
        packed=packed if len(packed) <= MAX_PACKED else b"",
    )


def fields_of(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Fields as a record has them, without the values that are keys."""
    return tuple(
        (name.decode("latin-1"), _shown(name, value).decode("latin-1")) for name, value in fields
    )


def _shown(name: bytes, value: bytes) -> bytes:
    return HIDDEN.encode() if name.decode("latin-1").lower() in _HIDDEN else value


def _values(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(value for key, value in fields if key.lower() == name)
