"""Ollama's ``keep_alive``: seconds as a number, or a duration as Go writes it."""

from __future__ import annotations

import re
from typing import Any, Final

from fake_providers.pacing.jobs import FOREVER

UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
MAX_NS: Final = 2**63 - 1


def keep_alive_ns(value: Any) -> int | None:
    """Nanoseconds; FOREVER if negative, None if it is no duration."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _bounded(value * UNITS_NS["s"]) if value == value else None  # noqa: PLR0124 - NaN
    if not isinstance(value, str):
        return None
    sign, text = (value[:1], value[1:]) if value[:1] in {"+", "-"} else ("", value)
    if text == "0":
        return 0
    parts = list(PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        return None
    total = sum(float(part[1]) * UNITS_NS[part[2]] for part in parts)
    return _bounded(-total if sign == "-" else total)


def _bounded(number: float) -> int:
    return FOREVER if number < 0 or number >= MAX_NS else round(number)
