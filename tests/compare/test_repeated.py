"""The gate on real runs: a broken promise, and twenty times over the latency that a router adds.

pytest -m slow -s tests/compare/test_repeated.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.routers.late_target import late_target
from tests.support.cli import routerspec

RUNS = 20


def test_a_promise_that_was_kept_and_no_longer_is(tmp_path: Path) -> None:
    command = ("verify", "--only", "cap/streams")
    (tmp_path / "old.json").write_text(
        routerspec(*command, "--format", "json", cwd=tmp_path).out, encoding="utf-8"
    )
    again = routerspec(*command, "--baseline", "old.json", cwd=tmp_path)
    assert again.status == 0
    assert again.out.rstrip().endswith("No worse: 1 same.")
    (kept,) = tmp_path.glob(".routerspec/runs/*/comparison.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["worse"] is False
    flaw = ("--flaw", "permit-freed-at-head", "--baseline", "old.json", "--format", "json")
    worse = routerspec(*command, *flaw, cwd=tmp_path)
    assert worse.status == 1
    assert worse.outcomes == {"cap/streams": "violated"}
    assert "cap/streams: worse" in worse.err
    assert "calls were held open at once" in worse.err


@pytest.mark.slow
def test_five_more_milliseconds_are_found_every_time_and_noise_never(tmp_path: Path) -> None:
    as_ever, late = late_target(tmp_path, 0), late_target(tmp_path, 0.005)
    only = ("--only", "overhead")
    first = routerspec("verify", as_ever, *only, "--format", "json", cwd=tmp_path)
    (tmp_path / "old.json").write_text(first.out, encoding="utf-8")
    counts: Counter[tuple[str, int]] = Counter()
    for number in range(RUNS):
        for name in (as_ever, late):
            got = routerspec("verify", name, *only, "--baseline", "old.json", cwd=tmp_path)
            counts[name, got.status] += 1
            print(f"\n{number + 1} {name}: exit {got.status}")
            print(got.out.partition(" ->  ")[2])
    print(dict(counts))
    assert counts == {(as_ever, 0): RUNS, (late, 1): RUNS}
