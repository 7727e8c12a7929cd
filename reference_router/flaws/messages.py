"""Defects of the Messages API as it is relayed: events, ids and counts that change on their way."""

from __future__ import annotations

from contextlib import aclosing

from reference_router import sse
from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.relaying import (
    VARIANT,
    Change,
    Event,
    Pieces,
    with_events,
    with_relay,
    with_streams,
)
from reference_router.upstream import Relay

OVERLOADED = 529


def input_at_start() -> Change:
    """The input of a call is that of its first event, and what follows is a text's or nothing."""

    def change(event: Event) -> list[Event]:
        return [] if event.get("delta", {}).get("type") == "input_json_delta" else [event]

    return change


def started_twice() -> Change:
    """A router that begins a message itself, and passes on the provider's beginning, too."""

    def change(event: Event) -> list[Event]:
        return [event, event] if event.get("type") == "message_start" else [event]

    return change


def counts_added() -> Change:
    """Counts are cumulative, and are added up as if they were not."""
    begun: dict[str, int] = {}

    def change(event: Event) -> list[Event]:
        if event.get("type") == "message_start":
            begun.update(_counts(event["message"]))
        elif event.get("type") == "message_delta":
            for name, count in _counts(event).items():
                event["usage"][name] = count + begun.get(name, 0)
        return [event]

    return change


def _counts(told: Event) -> dict[str, int]:
    usage = told.get("usage") or {}
    return {name: count for name, count in usage.items() if isinstance(count, int)}


def always_end_turn() -> Change:
    """An answer that is over has come to its end."""

    def change(event: Event) -> list[Event]:
        for told in (event, event.get("delta", {})):
            if told.get("stop_reason") in ("max_tokens", "stop_sequence"):
                told["stop_reason"] = "end_turn"
        return [event]

    return change


def unsigned() -> Change:
    """Thoughts are shown, and nobody shows a signature."""

    def change(event: Event) -> list[Event]:
        for block in event.get("content", ()):
            block.pop("signature", None)
        return [] if event.get("delta", {}).get("type") == "signature_delta" else [event]

    return change


async def nameless_errors(pieces: Pieces) -> Pieces:
    """A stream that ends in an error as chat completions have it: data without a name."""
    async with aclosing(sse.events(pieces)) as rows:
        async for row in rows:
            yield row.removeprefix(b"event: error\n")


class OverloadedAs200:
    """A status that is not in the list of errors is none."""

    def __init__(self, relay: Relay) -> None:
        self.name = relay.name
        self._relay = relay.relay

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        try:
            return await self._relay(path, body)
        except ApiError as error:
            if error.status != OVERLOADED:
                raise
            return Answer(body=error.body, headers=error.headers)


class OwnVersion:
    """The headers of an upstream call are the router's own, whatever the client's are."""

    def __init__(self, relay: Relay) -> None:
        self.name = relay.name
        self._relay = relay.relay

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        from reference_router import api_version  # noqa: PLC0415 - only where it is spoken

        api_version.speak_our_own()
        return await self._relay(path, body)


_NO_INPUT = "a call's input is what its client reads as the answer, and it has none"

FLAWS = (
    Flaw(
        name="tool-input-lost",
        story="The input of a tool call is read from its content_block_start; deltas are dropped.",
        spoil=with_events("anthropic", input_at_start),
        trips=("tools/arrive",),
        also={
            "answers/own": _NO_INPUT,
            "answers/whole": _NO_INPUT,
            "answers/incremental": _NO_INPUT,
            "answers/slow-stream": _NO_INPUT,
            "wire/text": _NO_INPUT,
            "wire/first-delta": "a delta that is dropped is never first",
        },
        variant=VARIANT,
    ),
    Flaw(
        name="message-start-twice",
        story="The router sends a message_start of its own, and then passes on the provider's.",
        spoil=with_events("anthropic", started_twice),
        trips=("wire/ending",),
        variant=VARIANT,
    ),
    Flaw(
        name="error-without-event-line",
        story="An error in mid-stream is sent without its line event: error.",
        spoil=with_streams("anthropic", nameless_errors),
        trips=("wire/failure-visible",),
        also={"wire/framing": "without its name it is an event that no client is shown"},
        variant=VARIANT,
    ),
    Flaw(
        name="usage-added-twice",
        story="The cumulative counts of message_start and message_delta are added up.",
        spoil=with_events("anthropic", counts_added),
        trips=("usage/told",),
        variant=VARIANT,
    ),
    Flaw(
        name="max-tokens-as-end-turn",
        story="An answer that was cut at max_tokens has the stop_reason end_turn.",
        spoil=with_events("anthropic", always_end_turn),
        trips=("wire/finish-reason",),
        variant=VARIANT,
    ),
    Flaw(
        name="signature-dropped",
        story="Thinking is passed on without its signature, and so it cannot go back.",
        spoil=with_events("anthropic", unsigned),
        trips=("wire/extras",),
        variant=VARIANT,
    ),
    Flaw(
        name="overloaded-as-200",
        story="529 is not in the list of error statuses: its body is sent with status 200.",
        spoil=with_relay("anthropic", OverloadedAs200),
        trips=("answers/error-is-error",),
        also={"errors/retry-after": "an error that is no error asks nobody to wait"},
        variant=VARIANT,
    ),
    Flaw(
        name="api-version-lost",
        story="anthropic-version and anthropic-beta of the client are not passed on.",
        spoil=with_relay("anthropic", OwnVersion),
        trips=("request/headers",),
        variant=VARIANT,
    ),
)
