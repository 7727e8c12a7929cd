"""The trace context of the client's request, which goes with each upstream call made for it."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

_PASSED_ON = (b"traceparent", b"tracestate")
_context: ContextVar[dict[str, str]] = ContextVar("trace_context")
_NONE: dict[str, str] = {}


def remember(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep the trace context of a request with these headers, for this task and those it starts."""
    _context.set(selected(headers, _PASSED_ON))


def headers() -> dict[str, str]:
    """The headers that an upstream call takes with it."""
    return _context.get(_NONE)


def selected(headers: Iterable[tuple[bytes, bytes]], names: tuple[bytes, ...]) -> dict[str, str]:
    """Those headers that have these names; several lines of one name are joined, as they may be."""
    found: dict[str, str] = {}
    for raw_name, value in headers:
        if raw_name in names and value.isascii():
            name = raw_name.decode()
            found[name] = ",".join(filter(None, (found.get(name), value.decode())))
    return found
