"""A tool call of a response: of a function, or of a custom tool, which takes any text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from fake_providers.openai.responses.events import ItemEvents


class Form(NamedTuple):
    """How calls of one type of tool are written."""

    prefix: str
    """Of the identifiers of its items."""
    item: str
    """The type of its items."""
    events: str
    """How the names of its own events begin."""
    given: str
    """The field with what the tool is given."""
    names: bool
    """The event that all was given has the name of the tool."""


FUNCTION: Final = Form("fc", "function_call", "function_call_arguments", "arguments", names=True)
CUSTOM: Final = Form("ctc", "custom_tool_call", "custom_tool_call_input", "input", names=False)


class CallItem:
    """One tool call."""

    def __init__(
        self, events: ItemEvents, form: Form, call_id: str, name: str, given: Sequence[str]
    ) -> None:
        """``given``: the fragments of what the tool is given."""
        self._events = events
        self._form = form
        self._head = {"call_id": call_id, "name": name}
        self._given = given

    def begin(self) -> bytes:
        """It is added, without what it gives."""
        return self._events.added(self._item("in_progress", ""))

    def pieces(self) -> Iterator[bytes]:
        """A fragment each."""
        for fragment in self._given:
            yield self._events(f"{self._form.events}.delta", delta=fragment)

    def end(self, status: str) -> bytes:
        """All was given, and the item is done."""
        whole = {self._form.given: "".join(self._given)}
        if self._form.names:
            whole["name"] = self._head["name"]
        return self._events(f"{self._form.events}.done", **whole) + self._events.done(
            self.shown(status)
        )

    def shown(self, status: str) -> dict[str, Any]:
        """The whole item."""
        return self._item(status, "".join(self._given))

    def _item(self, status: str, given: str) -> dict[str, Any]:
        its = {"id": self._events.id, "type": self._form.item, "status": status}
        return {**its, **self._head, self._form.given: given}
