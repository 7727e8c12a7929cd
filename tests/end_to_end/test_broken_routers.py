"""A router that has failed is not waited for, and the first violation may end a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.routers.broken_target import broken_target
from tests.support.cli import routerspec


def test_fail_fast_ends_before_the_load(tmp_path: Path) -> None:
    only = "slots/reached,cap/under-load"
    options = ("--fail-fast", "--flaw", "one-at-a-time", "--only", only, "--format", "json")
    run = routerspec("verify", *options, cwd=tmp_path)
    assert run.status == 1
    assert run.outcomes == {"slots/reached": "violated", "cap/under-load": "inconclusive"}
    reasons = {check["id"]: check.get("reason") for check in run.verdict["checks"]}
    assert reasons["cap/under-load"] == "not played: --fail-fast"
    assert "stopped by --fail-fast: slots/reached is violated" in run.err


@pytest.mark.slow
def test_a_router_that_answers_nobody_any_more_is_given_up(tmp_path: Path) -> None:
    target = broken_target(tmp_path, "never-answers-after-smoke")
    only = "cap/hang-ups,cap/burst,isolation"
    run = routerspec("verify", str(target), "--only", only, "--format", "json", cwd=tmp_path)
    assert run.status == 3
    reasons = [check.get("reason", "") for check in run.verdict["checks"]]
    assert any("given up on start" in reason for reason in reasons)
    assert "clients to be let in" in run.err
    assert "retrying in isolation" not in run.err
