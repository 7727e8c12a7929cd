"""Why an instance may have been left out though it answered: nothing then follows of a policy."""

from __future__ import annotations

from typing import Final

from routerspec.checks import instances
from routerspec.history.history import History, PlayedRound, StartHistory

_QUIET_NS: Final = 1e9
"""Health checks that take so long fail: without a stall of a tenth of it none did for our sake."""


def excuse(
    history: History, start: StartHistory, played: PlayedRound, pool: tuple[str, ...]
) -> str:
    """Why a wrong choice in this round need not be the router's; mostly empty."""
    failing = instances.failures(start, pool)
    if instances.may_be_left_alone(start, played, failing, history.promises):
        return "an instance had failed shortly before: it may be left alone"
    if instances.others_calls(start, pool):
        return "calls that no client of ours had sent may be part of it"
    if not start.is_quiet(played.from_ns, played.until_ns, _QUIET_NS):
        return "the providers or the clients stalled: a health check may have failed"
    return ""
