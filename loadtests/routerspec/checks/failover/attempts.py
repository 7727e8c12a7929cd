"""No more calls for one request than promised, over the whole pool: failover/attempts."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import Tried, one_server, only_direct, tried, witness_of
from routerspec.history.history import History
from routerspec.promises import Failover
from routerspec.verdict import Finding

SCENARIOS = ("failover-exhausted", "failover", "failover-fallback", "failover-streams")
_SECOND = 2


def _attempts(history: History, promise: Failover) -> Finding:
    found = only_direct(history, tried(history, *SCENARIOS))
    most = max(found, key=lambda its: len(its.calls), default=None)
    count = len(most.calls) if most else 0
    numbers = {"failures": sum(map(bool, (its.failed for its in found))), "most": count}
    if most is not None and count > promise.attempts:
        return _too_many(most, promise, numbers["failures"])
    exhausted = [its for its in found if its.played.round.scenario == "failover-exhausted"]
    if not any(len(its.failed) >= _SECOND for its in exhausted):
        reason = "no request was tried again while all instances failed"
        return results.never_exercised(reason, numbers)
    return results.held(f"at most {count} of {promise.attempts} attempts", numbers)


def _too_many(its: Tried, promise: Failover, failures: int) -> Finding:
    count = len(its.calls)
    sentence = (
        f"Nonce {its.client.nonce} was requested {count} times of all instances together; "
        f"{promise.attempts} attempts are promised."
    )
    numbers = {"failures": failures, "most": count}
    summary = f"{count} attempts, {promise.attempts} promised"
    return results.violated(summary, witness_of(its, sentence), numbers)


ATTEMPTS = Check(
    id="failover/attempts",
    promise=Failover,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_attempts,
    promised="One request makes no more calls than promised, over all instances and fallbacks "
    "together.",
    proved="The evidence has more calls with the nonce of one request than `failover.attempts`.",
    doubt="In the router's favour: refused connections leave no trace and do not count, and routes "
    "on which a good request makes several calls are left out. Inconclusive where no request made "
    "a second call while every instance failed.",
    bug="Retries of each instance multiplied by instances and fallbacks; a client that tries a "
    "dead primary ten times: BerriAI/litellm PR #38606.",
    fix="Count attempts in the request, not in the client of each instance, and switch off the "
    "retries of the libraries below.",
)
