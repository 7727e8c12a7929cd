"""Why a promise about silence is not judged: it is not made, or too long to be waited for."""

from __future__ import annotations

from routerspec.limits import LONGEST_SILENCE_S
from routerspec.promises import Promises


def keepalive(promises: Promises) -> str:
    """Of ``keepalive_s``; empty: it is judged."""
    return _why(promises.silence.keepalive_s if promises.silence else None, "keep-alives")


def long_stream(promises: Promises) -> str:
    """Of ``stream_max_s``."""
    return _why(promises.silence.stream_max_s if promises.silence else None, "long streams")


def idle_timeout(promises: Promises) -> str:
    """Of ``idle_timeout_s``."""
    seconds = promises.silence.idle_timeout_s if promises.silence else None
    return _why(seconds, "providers that send nothing more")


def _why(seconds: float | None, what: str) -> str:
    if seconds is None:
        return f"nothing is promised about {what}"
    if seconds > LONGEST_SILENCE_S:
        return f"more than {LONGEST_SILENCE_S:g} s are not waited for"
    return ""
