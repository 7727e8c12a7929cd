"""Defects of tool calls: merged on their way to the client, or strangers on their way back."""

from __future__ import annotations

import secrets
from typing import Any

from reference_router.body import Body, messages_of, plain
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.rewriting import Change, choices, said, with_both, with_change
from reference_router.router import Router

REMEMBERED = 10_000
"""Ids of calls that are kept."""


def index_zero() -> Change:
    """One call was all that models made when it was written."""

    def change(chunk: dict[str, Any]) -> bool:
        for choice in choices(chunk):
            for call in said(choice).get("tool_calls") or ():
                if "index" in call:
                    call["index"] = 0
        return True

    return change


class Ids:
    """Ids of calls as clients know them, and the providers' own."""

    def __init__(self) -> None:
        self._theirs: dict[str, str] = {}

    def change(self) -> Change:
        """The ids of an answer become the router's."""
        return self._mapped

    def request(self, body: Body) -> Body:
        """In the history the calls get back their ids; their results are forgotten."""
        if "messages" not in body:
            return body
        messages = [plain(message) for message in messages_of(body)]
        for message in messages:
            for call in message.get("tool_calls") or ():
                call["id"] = self._theirs.get(call.get("id", ""), call.get("id", ""))
        return body | {"messages": messages}

    def _mapped(self, chunk: dict[str, Any]) -> bool:
        for choice in choices(chunk):
            for call in said(choice).get("tool_calls") or ():
                if call.get("id"):
                    call["id"] = self._ours(call["id"])
        return True

    def _ours(self, theirs: str) -> str:
        if len(self._theirs) >= REMEMBERED:
            del self._theirs[next(iter(self._theirs))]
        ours = f"call_{secrets.token_hex(8)}"
        self._theirs[ours] = theirs
        return ours


def _half_mapped(router: Router) -> Router:
    ids = Ids()
    return with_both(ids.change, ids.request)(router)


FLAWS = (
    Flaw(
        name="tool-index-zero",
        story="All tool calls of a stream get index 0: a client joins them to one.",
        spoil=with_change(index_zero),
        trips=("tools/arrive",),
    ),
    Flaw(
        name="tool-ids-half-mapped",
        story="Ids of calls are rewritten; in the history they are restored, in results they are "
        "not.",
        spoil=_half_mapped,
        trips=("tools/round-trip",),
    ),
)
