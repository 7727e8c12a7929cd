"""The version of Anthropic's API and the betas that a client speaks.

They go with each upstream call that passes its request on; a translated one has a version of its
own, the one that the translation speaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

from reference_router import tracing

NAMES = (b"anthropic-version", b"anthropic-beta")
OUR_OWN = {"anthropic-version": "2023-06-01"}
_spoken: ContextVar[dict[str, str]] = ContextVar("api_version", default=OUR_OWN)


def remember(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep what a request with these headers says of it, with its trace context."""
    lines = list(headers)
    tracing.remember(lines)
    _spoken.set(tracing.selected(lines, NAMES))


def speak_our_own() -> None:
    """Forget what the client speaks: what is sent from now on is our own."""
    _spoken.set(OUR_OWN)


def headers() -> dict[str, str]:
    """The headers that an upstream call takes with it, its trace context among them."""
    return {**tracing.headers(), **_spoken.get()}
