"""The registered scenarios are those that the plan names, no more and no fewer."""

from __future__ import annotations

import pytest

from routerspec.checks import REGISTRY
from routerspec.plan.starts import plan_starts
from routerspec.scenarios.engine.registry import all_scenarios, scenario
from routerspec.targets import load_target

NOT_PLANNED = {"bench", "smoke-burst"}
"""Played by ``routerspec bench`` and ``smoke``, which make plans of their own."""


def test_every_scenario_is_planned_and_every_planned_one_is_registered() -> None:
    names = ("reference", "reference:resilient", "reference:workers", "reference:cluster")
    targets = [load_target(name) for name in names]
    starts = [start for its in targets for start in plan_starts(its, REGISTRY.values())]
    planned = {name for start in starts for name in start.scenarios}
    assert set(all_scenarios()) == planned | NOT_PLANNED


def test_every_scenario_that_a_check_reads_is_registered() -> None:
    read = {name for check in REGISTRY.values() for name in check.played}
    assert read <= set(all_scenarios())


def test_a_name_is_registered_once() -> None:
    all_scenarios()
    with pytest.raises(ValueError, match="two scenarios are called 'smoke'"):
        scenario("smoke")(lambda _conductor: None)
