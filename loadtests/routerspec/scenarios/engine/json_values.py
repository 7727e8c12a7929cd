"""Whatever JSON a router sends: decoded as liberal clients do it, and shown in a record."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from routerspec.scrub import SECRETS

BOM: Final = b"\xef\xbb\xbf"
KEPT: Final = 300
"""Characters that are kept of an error."""


def decoded(raw: bytes) -> Any:
    """The JSON value, as liberal clients read it. Raises ValueError where it is none.

    Python's own decoder takes what many clients take and the strict one does not: NaN, numbers
    out of range, half a surrogate pair.
    """
    raw = raw.removeprefix(BOM)
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def encoded(value: Any) -> str:
    """The value as JSON; what cannot be written so, as text."""
    try:
        return encodable(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return excerpt(value)


def beginning(raw: bytes) -> str:
    """The beginning of an answer; secrets are hidden before it is cut."""
    return encodable(SECRETS.hide(raw[:1000].decode(errors="replace"))[:120])


def excerpt(value: object) -> str:
    """The start of any JSON value, as text."""
    try:
        return encodable(str(value)[:KEPT])
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be shown"


def encodable(text: str) -> str:
    """The text in characters that a record can hold: no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
