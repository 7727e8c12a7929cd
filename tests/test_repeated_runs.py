"""Twenty times over: a flaw is found each time, a sound router is never accused.

    pytest -m slow -s tests/test_repeated_runs.py

Takes about half an hour on two cores and prints its counts.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from reference_router.flaws import FLAWS
from tests.command_line import busy, routerspec

pytestmark = pytest.mark.slow

RUNS = 20
BUSY_RUNS = 5


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_every_time(name: str, tmp_path: Path) -> None:
    trips, variant = FLAWS[name].trips, FLAWS[name].variant
    target = f"reference:{variant}" if variant else "reference"
    words = ("--flaw", name, "--only", ",".join(trips), "--format", "json", "--strict")
    found: Counter[str] = Counter()
    longest = 0.0
    for _ in range(RUNS):
        began = time.monotonic()
        run = routerspec("verify", target, *words, cwd=tmp_path)
        longest = max(longest, time.monotonic() - began)
        found["exit 1"] += run.status == 1
        found.update(id_ for id_, outcome in run.outcomes.items() if outcome == "violated")
    print(f"\n{name}: {dict(found)} of {RUNS}, longest {longest:.1f} s")
    assert found == dict.fromkeys(("exit 1", *trips), RUNS)


def test_the_sound_router_is_never_accused(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    longest = 0.0
    for number in range(RUNS):
        with busy(2 if number < BUSY_RUNS else 0):
            began = time.monotonic()
            run = routerspec("verify", "--format", "json", cwd=tmp_path)
            longest = max(longest, time.monotonic() - began)
        statuses[run.status] += 1
        outcomes.update(run.outcomes.values())
    print(f"\nsound: exits {dict(statuses)}, checks {dict(outcomes)}, longest {longest:.1f} s")
    assert statuses == {0: RUNS}
    assert set(outcomes) == {"held"}
