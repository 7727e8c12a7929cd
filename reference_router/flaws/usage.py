"""Defects of the usage: asked for and not passed on, or told in an event that is dropped."""

from __future__ import annotations

from typing import Any

from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.rewriting import Change, choices, with_change, with_request


def only_what_says_something() -> Change:
    """An event without a delta and without a finish is noise."""

    def change(chunk: dict[str, Any]) -> bool:
        if "usage" not in chunk or ("object" in chunk and chunk["object"] == "chat.completion"):
            return True
        return any(_says(choice) for choice in choices(chunk))

    return change


def _says(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return any(delta.values()) or bool(choice.get("finish_reason")) or "role" in delta


def without_stream_options(body: Body) -> Body:
    """A field that is younger than the code."""
    return {name: value for name, value in body.items() if name != "stream_options"}


FLAWS = (
    Flaw(
        name="empty-delta-dropped",
        story="An event with an empty delta is dropped, and the usage in it, too.",
        spoil=with_change(only_what_says_something),
        trips=("usage/told",),
    ),
    Flaw(
        name="stream-options-dropped",
        story="stream_options is not passed on, and so the provider tells no usage.",
        spoil=with_request(without_stream_options),
        trips=("usage/told",),
        also={"request/body": "it is a field of the client's"},
    ),
)
