"""A reader of the messages of one answer, and the content that it fills."""

from __future__ import annotations

from typing import Any, Protocol


class Sink(Protocol):
    """Where a reader puts what it finds: ``engine.content.Content``."""

    run: str
    path: str
    finish: str | None
    done: bool
    tools: bool

    def add(self, text: object) -> None:
        """A piece of the text."""

    def add_arguments(self, fragment: object) -> None:
        """A piece of the arguments of a tool call."""

    def end(self, reason: object, name: str) -> None:
        """Why the answer ended, as its field ``name`` says."""

    def fail(self, error: object) -> None:
        """An error that the answer tells."""

    def odd(self, name: str, value: Any) -> None:
        """A field with a value that the dialect does not have."""


class Reader(Protocol):
    """What reads the messages of one answer."""

    named_events: bool
    """Its clients read an event only where it has a name."""

    def take(self, content: Sink, message: dict[str, Any]) -> None:
        """Add what the answer's client reads in this message to ``content``."""
