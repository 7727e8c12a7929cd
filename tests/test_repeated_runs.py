"""Twenty times over: a flaw is found each time, a sound router is never accused.

    pytest -m slow -s tests/test_repeated_runs.py

Takes about half an hour on two cores and prints its counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reference_router.flaws import FLAWS
from tests.command_line import routerspec

pytestmark = pytest.mark.slow

RUNS = 20
BUSY_RUNS = 5


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_every_time(name: str, tmp_path: Path) -> None:
    trips = FLAWS[name].trips
    found: Counter[str] = Counter()
    longest = 0.0
    for _ in range(RUNS):
        began = time.monotonic()
        run = routerspec(
            "verify", "--flaw", name, "--only", ",".join(trips), "--format", "json", cwd=tmp_path
        )
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


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Something else that wants whole processors, as on a shared machine."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
