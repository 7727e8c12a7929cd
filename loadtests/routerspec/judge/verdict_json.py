"""The verdict as JSON: one object, held by ``verdict.schema.json`` beside this file. Pure.

Why smoke failed stands once, in ``smoke_failures``; the checks that it leaves unjudged refer to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from routerspec.verdict import SMOKE_FAILED, CheckResult, Verdict


def encode(verdict: Verdict) -> str:
    """The verdict as indented JSON text."""
    return json.dumps(as_object(verdict), indent=2, ensure_ascii=False)


def as_object(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values, in the order in which they are written."""
    return {
        "target": verdict.target,
        "version": verdict.version,
        "outcome": verdict.outcome.value,
        **({"spec": verdict.spec} if verdict.spec else {}),
        "seed": verdict.seed,
        "promises": msgspec.to_builtins(verdict.promises),
        "absent": list(verdict.absent),
        "refusals": msgspec.to_builtins(verdict.refusals),
        "exercised": msgspec.to_builtins(verdict.exercised),
        **({"smoke_failures": list(verdict.smoke_failures)} if verdict.smoke_failures else {}),
        "checks": [_check(check, verdict.smoke_failures) for check in verdict.checks],
        **({"notes": list(verdict.notes)} if verdict.notes else {}),
    }


def schema() -> dict[str, Any]:
    """The JSON Schema that every encoded verdict keeps."""
    text = files("routerspec.judge").joinpath("verdict.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def full_reason(reason: str, smoke_failures: Sequence[str]) -> str:
    """The reason of a check that may refer to one of these."""
    full = {_reference(number): why for number, why in enumerate(smoke_failures)}
    return full.get(reason, reason)


def _reference(number: int) -> str:
    return f"smoke failed: see smoke_failures[{number}]"


def _check(check: CheckResult, smoke_failures: Sequence[str]) -> dict[str, Any]:
    witness = check.witness
    samples = {name: list(its) for name, its in check.samples.items()}
    return {
        "id": check.id,
        "kind": check.kind.value,
        "outcome": check.outcome.value,
        "reason": _reference(smoke_failures.index(check.reason))
        if check.summary == SMOKE_FAILED and check.reason in smoke_failures
        else check.reason,
        "summary": check.summary,
        "numbers": dict(check.numbers),
        **({"samples": samples} if samples else {}),
        "witness": witness and {"sentence": witness.sentence, "facts": list(witness.facts)},
        "known": check.known,
    }
