"""Anthropic's model list, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 1000
CREATED_AT: Final = "2023-11-14T22:13:20Z"
"""Creation time of the models. A constant, so that lists of one epoch are equal."""


class BadPage(ValueError):  # noqa: N818 - it names what is wrong
    """The query is invalid; the message is Anthropic's."""


def names(epoch: int) -> tuple[str, ...]:
    """The models of this epoch, in the order of the list."""
    return "fake-chat", f"anthropic-epoch-{epoch}"


def model(name: str) -> dict[str, Any]:
    """One model, as the list and its own route have it."""
    return {"type": "model", "id": name, "display_name": name, "created_at": CREATED_AT}


def page(known: Sequence[str], query: bytes) -> dict[str, Any]:
    """The page that a query asks for. Raises BadPage.

    A cursor that is no model's, because the list has changed, has nothing behind or before it.
    """
    asked = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
    limit = _limit(asked.get("limit"))
    after, before = asked.get("after_id"), asked.get("before_id")
    if after is not None:
        rest = known[known.index(after) + 1 :] if after in known else ()
        shown, more = rest[:limit], len(rest) > limit
    elif before is not None:
        rest = known[: known.index(before)] if before in known else ()
        shown, more = rest[-limit:], len(rest) > limit
    else:
        shown, more = known[:limit], len(known) > limit
    return {
        "data": [model(name) for name in shown],
        "has_more": more,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isdecimal() or not text.isascii():
        raise BadPage("limit: Input should be a valid integer")
    limit = int(text[:10])
    if not 1 <= limit <= MAX_LIMIT:
        raise BadPage(f"limit: Input should be between 1 and {MAX_LIMIT}")
    return limit
