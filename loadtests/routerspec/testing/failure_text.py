"""A verdict as the text of a test's failure: witnesses first, then what was inconclusive. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_LINES: Final = 12
_UNDECIDED: Final = ("inconclusive", "not judged", "harness error")
_HEADLINES: Final = {
    "violated": "the router violates a promise",
    "discouraged": "a recommendation is not met",
    "inconclusive": "the result is inconclusive",
    "not judged": "a route does not answer, so nothing was judged",
    "harness error": "the harness failed, not the router",
}


def failure(verdict: dict[str, Any], run: Path | None) -> str:
    """The text for a verdict that does not hold."""
    headline = _HEADLINES.get(verdict["outcome"], "no check applied to this router")
    lines = [f"routerspec: {headline}."]
    for check in verdict["checks"]:
        if check["outcome"] == "violated":
            lines += ["", *_violated(check)]
    lines += _reasons(verdict["checks"])
    lines += (f"  [{number}] {why}" for number, why in enumerate(verdict.get("smoke_failures", ())))
    counts = Counter(check["outcome"] for check in verdict["checks"])
    lines += ["", ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."]
    first = next((c["id"] for c in verdict["checks"] if c["outcome"] == verdict["outcome"]), "")
    if first:
        lines.append(f"Next: routerspec explain {first}")
    if run is not None:
        lines.append(f"Run saved in {run}")
    return "\n".join(lines)


def no_verdict(status: int, stderr: str) -> str:
    """The text for a process that printed no verdict."""
    end = "\n".join(stderr.strip().splitlines()[-_LINES:])
    return f"routerspec verify exited with status {status} and printed no verdict:\n{end}"


def _violated(check: dict[str, Any]) -> Iterator[str]:
    known = f" (known: {check['known']})" if check["known"] else ""
    yield f"{check['id']}: violated{known}: {check['summary']}"
    yield f"  {check['witness']['sentence']}"
    for fact in check["witness"]["facts"]:
        yield f"  - {fact}"


def _reasons(checks: list[dict[str, Any]]) -> Iterator[str]:
    """Each reason once, with the checks that it applies to."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        if check["outcome"] in _UNDECIDED:
            grouped.setdefault((check["outcome"], check["reason"]), []).append(check["id"])
    for (outcome, reason), ids in grouped.items():
        yield ""
        yield f"{', '.join(ids)}: {outcome}"
        yield f"  {reason}"
