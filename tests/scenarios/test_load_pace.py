"""Providers are slowed down for a slow router that rejects; else its slots would stay free."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from routerspec.promises import Cap, Promises
from routerspec.scenarios.load import slowed_s
from tests.routers.late_target import late_target
from tests.support.cli import routerspec

REJECT = Cap(limit=4, overload="reject")


def conductor(cap: Cap | None, latency_s: float, attempt: int) -> Any:
    plan = SimpleNamespace(promises=Promises(cap=cap), attempt=attempt)
    slower = {"openai": latency_s, "ollama": 2 * latency_s}
    return SimpleNamespace(plan=plan, latency_s=slower, limit=4)


@pytest.mark.parametrize(
    ("cap", "latency_s", "attempt", "expected"),
    [
        (REJECT, 0.002, 1, 0.0),
        (REJECT, 0.01, 1, 0.32),
        (REJECT, 0.002, 2, 0.064),
        (REJECT, 0.1, 1, 0.6),
        (Cap(limit=4), 0.1, 2, 0.0),
        (None, 0.1, 2, 0.0),
    ],
    ids=["quick", "slow", "quick-but-inconclusive", "at-most", "it-queues", "no-cap"],
)
def test_providers_are_slowed_where_slots_would_stay_free(
    cap: Cap | None, latency_s: float, attempt: int, expected: float
) -> None:
    assert slowed_s(conductor(cap, latency_s, attempt)) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("work_s", [0.002, 0.005, 0.01, 0.03])
def test_all_slots_get_occupied_however_slow_the_router_is(work_s: float, tmp_path: Path) -> None:
    word = late_target(tmp_path, work_s, "busy")
    command = ("verify", f"{word}:rejecting", "--only", "cap/under-load", "--format", "json")
    got = routerspec(*command, cwd=tmp_path)
    print(work_s, got.verdict["checks"][0]["summary"])
    assert got.outcomes == {"cap/under-load": "held"}
