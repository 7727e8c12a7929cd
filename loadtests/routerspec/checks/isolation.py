"""What a hung provider does to the others: isolation/hung-provider."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Cap
from routerspec.verdict import Finding, Kind


def _hung_provider(history: History, _cap: Cap) -> Finding:
    for _, played in history.rounds("hung-provider"):
        opened = played.released_ns("gate")
        beside = [c for c in played.observations if c.route == played.round.route]
        if opened is None or not beside:
            continue
        answered = any(c.outcome == "answered" and c.end_ns < opened for c in beside)
        summary = "the other provider answers" if answered else "the other provider waits"
        return results.observed(summary, {"answered": int(answered)})
    return results.not_applicable("the target has one provider only")


CHECKS = (
    Check(
        id="isolation/hung-provider",
        kind=Kind.OBSERVE,
        promise=Cap,
        scenarios=("hung-provider",),
        judge=_hung_provider,
        promised="Observed only: whether the other provider is still reachable while one hangs.",
        proved="No violation: as many calls as the cap are held at one provider, and a request "
        "for the other one is sent.",
        doubt="It never accuses.",
        bug="One provider that never answers occupies the shared cap: "
        "vllm-project/production-stack #749, maximhq/bifrost #7034, askalf/dario #1244.",
        fix="Set a timeout for the response headers, and a cap for each provider beside the shared "
        "one.",
    ),
)
