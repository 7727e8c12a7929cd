"""Defects of the Responses API as it is relayed: ids that change, and an end that is none."""

from __future__ import annotations

import secrets
from contextlib import aclosing

import msgspec

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.relaying import (
    VARIANT,
    Change,
    Event,
    Pieces,
    with_events,
    with_streams,
)

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


def response_id_of_its_own() -> Change:
    """Each event that has a response gets it with a new id."""

    def change(event: Event) -> list[Event]:
        if "response" in event:
            event["response"]["id"] = f"resp_{secrets.token_hex(12)}"
        return [event]

    return change


def item_id_as_call_id() -> Change:
    """A call that is over is named by the id of its item, which no result refers to."""

    def change(event: Event) -> list[Event]:
        item = event.get("item") or {}
        if event.get("type") == "response.output_item.done" and "call_id" in item:
            item["call_id"] = item["id"]
        return [event]

    return change


async def always_completed(pieces: Pieces) -> Pieces:
    """However the provider's stream ended, it ends in ``response.completed``."""
    response: Event = {}
    ended = False
    try:
        async with aclosing(sse.events(pieces)) as rows:
            async for row in rows:
                if sse.is_whole(row):
                    event = _read(row)
                    response = event.get("response") or response
                    ended = ended or event.get("type") in ENDS
                    yield row
    except ApiError:
        pass
    if not ended:
        done = {**response, "status": "completed"}
        yield sse.named("response.completed", {"sequence_number": 0, "response": done})


def _read(row: bytes) -> Event:
    try:
        event: Event = msgspec.json.decode(sse.data_of(row))
    except msgspec.DecodeError:
        return {}
    return event


FLAWS = (
    Flaw(
        name="response-id-per-event",
        story="The response in each event is built anew, and gets an id of its own.",
        spoil=with_events("openai", response_id_of_its_own),
        trips=("wire/ids",),
        variant=VARIANT,
    ),
    Flaw(
        name="call-id-changed",
        story="In output_item.done a call has the id of its item in the place of its call_id.",
        spoil=with_events("openai", item_id_as_call_id),
        trips=("wire/ids",),
        also={"tools/arrive": "the id of a call is not the one that its provider gave"},
        variant=VARIANT,
    ),
    Flaw(
        name="completed-after-cut",
        story="The end of the connection is the end of the response: response.completed is sent.",
        spoil=with_streams("openai", always_completed),
        trips=("answers/cut-is-no-success",),
        also={
            "wire/ending": "such an end is none of the provider's",
            "wire/failure-visible": "a failure that is called a success is seen by nobody",
        },
        variant=VARIANT,
    ),
)
