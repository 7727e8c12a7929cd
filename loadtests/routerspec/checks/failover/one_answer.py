"""A stream that has begun is one provider's to its end: failover/one-answer."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import Tried, one_server, only_direct, tried, witness_of
from routerspec.history.history import History
from routerspec.limits import TRIES
from routerspec.promises import Failover
from routerspec.verdict import Finding

SCENARIOS = ("failover-streams", "failover", "failover-fallback")
_TWO = 2


def _one_answer(history: History, _promise: Failover) -> Finding:
    begun = 0
    for its in only_direct(history, tried(history, *SCENARIOS)):
        if len(tokens.shown(its.start, its.client)) >= _TWO:
            return _spliced(its)
        begun += _had_begun(its)
    numbers = {"begun": begun}
    if begun < TRIES:
        return results.too_few(begun, "streams broke off after their client had begun to read them",
                               TRIES, numbers)  # fmt: skip
    return results.held(f"{begun} streams broke off, none went on with another answer", numbers)


def _had_begun(its: Tried) -> bool:
    """Its client had pieces of the call that failed."""
    return any(call in its.failed for call in tokens.shown(its.start, its.client))


def _spliced(its: Tried) -> Finding:
    calls = sorted(tokens.shown(its.start, its.client), key=lambda call: call.read_ns)
    names = " and ".join(f"{call.provider} call {call.call}" for call in calls[:3])
    sentence = (
        f"The answer to nonce {its.client.nonce} is made of the answers of {names}, of which the "
        "first broke off."
    )
    shown = witness_of(its, sentence, tokens.excerpt(its.client))
    return results.violated(f"{len(calls)} answers in one: {its.client.route}", shown)


ONE_ANSWER = Check(
    id="failover/one-answer",
    promise=Failover,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_one_answer,
    promised="A stream whose client has read a part of it is neither continued nor begun again "
    "from another instance: it ends with its failure.",
    proved="The text of one answer has numbered tokens of two calls for the same request.",
    doubt="In the router's favour: a router that holds a stream back until it is whole may serve "
    "another one in its place; routes on which a good request makes several calls are left out. "
    f"Inconclusive where fewer than {TRIES} streams broke off after their clients had begun to "
    "read.",
    bug="The texts of two providers glued together: Garudex-Labs/caracal #344; a stream that "
    "starts over after its fallback: BerriAI/litellm #35578.",
    fix="Fail over only until the first byte of content was sent to the client; after that pass "
    "the failure on.",
)
