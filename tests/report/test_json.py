"""The JSON report keeps its schema, whatever the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from routerspec.compare import baseline
from routerspec.judge import judge
from routerspec.judge import verdict_json as report
from routerspec.promises import Cancel, Promises, Retries
from routerspec.report import markdown
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict
from tests.corpus import judged
from tests.corpus.builder import Start, run_of
from tests.corpus.make import BAD, GOOD


def validate(text: str) -> dict[str, object]:
    value: dict[str, object] = json.loads(text)
    jsonschema.Draft202012Validator(report.schema()).validate(value)
    return value


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(report.schema())


@pytest.mark.parametrize(
    "folder",
    [f"good/{name}" for name in sorted(GOOD)]
    + [f"bad/{check.replace('/', '--')}" for check in sorted(BAD)],
)
def test_every_verdict_of_the_corpus_keeps_the_schema(folder: str) -> None:
    verdict = judged.verdict(folder)
    value = validate(report.encode(verdict))
    first = ["target", "version", "outcome", "seed", "promises", "absent", "refusals", "exercised"]
    assert list(value) == [*first, "checks"]
    should = any(c.outcome is Outcome.VIOLATED and c.kind is Kind.SHOULD for c in verdict.checks)
    # What is only discouraged weighs less than all that its history does not tell.
    bad = "inconclusive" if should else "violated"
    assert value["outcome"] == ("held" if folder.startswith("good") else bad)


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("kind", list(Kind))
def test_every_outcome_of_every_kind_keeps_the_schema(outcome: Outcome, kind: Kind) -> None:
    promises = Promises(cancel=Cancel(within_s=1), retries=Retries(max=2), keys="passthrough")
    bad = judged.verdict("bad/cap--burst")
    witness = next(c.witness for c in bad.checks if c.witness)
    check = CheckResult(
        id="a/b",
        kind=kind,
        outcome=outcome,
        reason="" if outcome in {Outcome.HELD, Outcome.VIOLATED} else "because",
        witness=witness if outcome is Outcome.VIOLATED else None,
        numbers={"peak": 3, "late_p99_ms": 0.5},
    )
    verdict = Verdict(
        target="t",
        version="",
        outcome=Standing.INCONCLUSIVE,
        seed=0,
        promises=promises,
        checks=(check,),
    )
    validate(report.encode(verdict))


def test_the_schema_refuses_a_violation_without_a_witness_and_silence_without_a_reason() -> None:
    verdict = judged.verdict("bad/cap--burst")
    value = report.as_object(verdict)
    broken = next(c for c in value["checks"] if c["outcome"] == "violated")
    broken["witness"] = None
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(value))
    value = report.as_object(verdict)
    silent = next(c for c in value["checks"] if c["outcome"] == "inconclusive")
    silent["reason"] = ""
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(value))


def test_the_reason_why_smoke_failed_stands_once_in_json_and_in_markdown(tmp_path: Path) -> None:
    start = Start()
    number = start.round("smoke", 0, 1, route="openai", mode="chat", part="route")
    start.client(start.nonce(), number, sent=0.1, end=0.2, outcome="refused", status=404)
    recorded = run_of(start, selected="all")
    verdict = judge.judge(recorded)
    text = report.encode(verdict)
    value = validate(text)
    (why,) = verdict.smoke_failures
    assert text.count("mode chat was refused with status 404") == 1
    assert value["smoke_failures"] == [why]
    unjudged = [c for c in report.as_object(verdict)["checks"] if c["outcome"] == "not judged"]
    assert len(unjudged) > 10
    assert {check["reason"] for check in unjudged} == {"smoke failed: see smoke_failures[0]"}
    assert markdown.encode(verdict, recorded.info).count("mode chat was refused with") == 1
    file = tmp_path / "verdict.json"
    file.write_text(text, encoding="utf-8")
    assert {c.reason for c in baseline.read(file).checks} >= {why}
