"""What is judged of replicas that run already."""

from __future__ import annotations

import dataclasses

from routerspec.targets import load_target
from routerspec.verify.verify import _not_applicable, facts_of

CLUSTER = load_target("reference:cluster")


def test_only_what_is_about_all_of_them_and_disturbs_nobody_is_judged() -> None:
    several = dataclasses.replace(CLUSTER, start=None, attached=2)
    reasons = _not_applicable(facts_of(several))
    assert "attach to one of them alone" in reasons["cap/each-route"]
    assert "attach to one of them alone" in reasons["answers/whole"]
    assert "cap/replica-killed" in reasons
    assert "attach" not in reasons["cap/replica-killed"]
    assert reasons.keys().isdisjoint({"cap/replicas", "slots/replicas-order"})


def test_one_of_them_alone_is_judged_as_any_router() -> None:
    one = _not_applicable(facts_of(dataclasses.replace(CLUSTER, start=None)))
    assert "cap/each-route" not in one
    assert "cap/replicas" in one
