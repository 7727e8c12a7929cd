"""The JSON report keeps its schema, whatever the verdict."""

from __future__ import annotations

import json

import jsonschema
import pytest

from routerspec.judge import verdict_json as report
from routerspec.promises import Cancel, Promises, Retries
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict
from tests.corpus import judged
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
