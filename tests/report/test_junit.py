"""JUnit XML: valid against Jenkins' own schema, whatever a router says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from routerspec.report import junit
from routerspec.verdict import CheckResult, Refusals, Verdict
from tests.corpus.builder import run_info
from tests.corpus.make import BAD
from tests.report.stories import EVERY, HOSTILE, corpus, verdict_of, with_text

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "schemas" / "junit-10.xsd")
INFO = run_info(selected=())


def encoded(verdict: Verdict, *, strict: bool = False) -> ElementTree.Element:
    text = junit.encode(verdict, INFO, strict=strict)
    SCHEMA.validate(text)
    return ElementTree.fromstring(text.encode())


def case(root: ElementTree.Element, id_: str) -> ElementTree.Element:
    (found,) = (c for c in root.iter("testcase") if c.get("name") == id_)
    return found


def what(check: ElementTree.Element) -> list[str]:
    return [child.tag for child in check]


@pytest.mark.parametrize("check", sorted(BAD))
def test_every_violation_is_a_failure_with_its_witness(check: str) -> None:
    _, verdict, _ = corpus(f"bad/{check.replace('/', '--')}")
    result = next(c for c in verdict.checks if c.id == check)
    strict = result.kind == "should"
    root = encoded(verdict, strict=strict)
    assert [c.get("name") for c in root.iter("testcase")] == [c.id for c in verdict.checks]
    failures = [c.get("name") for c in root.iter("testcase") if c.find("failure") is not None]
    assert failures == [check]
    text = case(root, check).findtext("failure") or ""
    assert result.witness is not None
    assert all(line in text for line in (result.witness.sentence, *result.witness.facts))


def test_each_outcome_is_what_a_ci_system_makes_of_it() -> None:
    root = encoded(verdict_of(*EVERY))
    assert {c.get("name"): what(c) for c in root.iter("testcase")} == {
        "cap/streams": ["failure", "system-out"],
        "cap/burst": ["skipped", "system-out"],
        "slots/handover": ["system-out"],
        "slots/reached": ["system-out"],
        "models/cached": ["error", "system-out"],
        "answers/own": ["skipped", "system-out"],
        "answers/whole": ["error", "system-out"],
        "keys/stay-home": ["error", "system-out"],
        "overhead/latency": ["system-out"],
    }
    assert "https://issues.example/17" in (case(root, "cap/burst")[0].get("message") or "")
    assert case(root, "models/cached")[0].get("type") == "inconclusive"
    assert case(root, "answers/own")[0].get("message") == "because not applicable"
    assert "some_ms = 1.25" in (case(root, "overhead/latency").findtext("system-out") or "")
    assert "start a, round 1" in (case(root, "slots/handover").findtext("system-out") or "")


def test_what_a_reader_must_know_is_said_in_each_suite() -> None:
    verdict = dataclasses.replace(
        verdict_of(*EVERY),
        notes=("somebody without the token reached for the fakes",),
        refusals=(Refusals(start="load", status=429, count=7, requests=9),),
    )
    for suite in encoded(verdict).iter("testsuite"):
        said = suite.findtext("system-out") or ""
        assert "without the token" in said
        assert "7 of 9 requests were refused by the router itself with 429" in said
    assert all(s.find("system-out") is None for s in encoded(verdict_of(*EVERY)))


def test_a_should_fails_with_strict_alone() -> None:
    root = encoded(verdict_of(*EVERY), strict=True)
    assert what(case(root, "slots/handover")) == ["failure", "system-out"]


def test_the_counts_are_those_of_the_cases() -> None:
    root = encoded(verdict_of(*EVERY))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("9", "1", "3")
    for suite in root.iter("testsuite"):
        for name in ("failure", "error"):
            assert int(suite.get(f"{name}s", "")) == len(suite.findall(f"testcase/{name}"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))


def test_characters_that_xml_forbids_are_replaced() -> None:
    checks: list[CheckResult] = [with_text(check, HOSTILE) for check in EVERY]
    root = encoded(verdict_of(*checks, target=HOSTILE))
    text = case(root, "cap/streams").findtext("failure") or ""
    assert "<script>alert(1)</script>" in text
    assert "\u2400\u241b[31m" in text, "controls have pictures of their own"
    assert not list(root.iter("script"))


def test_nothing_at_all_is_a_valid_document() -> None:
    assert encoded(verdict_of()).get("tests") == "0"
