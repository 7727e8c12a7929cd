"""Attempts: answers/attempts. Pure.

Decides how often a router asked for the same answer again, whether it waited for as long as it was
told, and whether it went on for a client that had left. Refuses to judge whether a retry was wise.

Direction of doubt: an attempt is the same call again (provider, path and body) after one that was
not finished. An agent's next call has another body; what was asked again after a good answer counts
from the start; what came before the other had failed is a hedge. A Retry-After runs from just
before its head was written, and 50 ms early are on time. A client counts as gone a second after it
left (or after the promised time, where that is longer), and a retry for it accuses only when its
route made one three times of three, with no stall of ours of a tenth of that time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SLACK_NS = 50_000_000
"""So much too early is on time."""
GONE_S = 1.0
"""A client that left so long ago is gone, however slowly that is noticed."""
TRIES = 3
"""Retries for nobody accuse when they were seen so often, and never not."""
SCENARIOS = ("leave-before-error", "cut-stream", "upstream-error", "retry-after")

Client = tuple[StartHistory, PlayedRound, Observation]
Chain = tuple[Call, ...]
"""Attempts at one answer, in the order of their reading: each but the first after a failure."""


def needs_retries(promises: Promises) -> str:
    """Judged where the number of attempts is promised."""
    return "" if promises.retries else "nothing is promised about retries"


@dataclass(slots=True)
class _Left:
    """Clients of one route that left while a call of theirs was held."""

    tried: int = 0
    late: list[tuple[Client, Chain]] = field(default_factory=list)


def attempts(history: History, promises: Promises) -> Finding:
    """No more attempts than promised, none too early, none for a client that left."""
    assert promises.retries is not None
    gone = _retried_for_nobody(history, promises)
    if gone is not None:
        return gone
    most = 1 + promises.retries.max
    failures = waited = longest = 0
    for client, chain in _chains(history):
        failures += any(map(_failed, chain))
        longest = max(longest, len(chain))
        if len(chain) > most:
            sentence = (
                f"The answer of nonce {client[2].nonce} was asked for {len(chain)} times; "
                f"{promises.retries.max} retries are promised at most."
            )
            summary = f"{len(chain)} attempts, {most} promised"
            return results.violated(summary, _witness(client, chain, sentence))
        told_s = _retry_after(client[1]) if promises.retries.honours_retry_after else 0
        if told_s and len(chain) > 1:  # Only the first attempt is told when to come back.
            waited += 1
            if _too_early(chain[0], chain[1], told_s):
                return _early(client, chain[:2], told_s)
    return _held(history, promises, failures=failures, waited=waited, longest=longest)


def _held(
    history: History, promises: Promises, *, failures: int, waited: int, longest: int
) -> Finding:
    assert promises.retries is not None
    left = sum(its.tried for its in _left(history, promises).values())
    numbers = {"failures": failures, "left": left, "after Retry-After": waited, "most": longest}
    if not failures:
        return results.inconclusive("never exercised: no call failed", numbers)
    chats = any(mode == "chat" for _, mode in history.cells)
    if chats and left < TRIES:
        reason = f"never exercised: {left} clients left while a call was held, {TRIES} are needed"
        return results.inconclusive(reason, numbers)
    if chats and promises.retries.max and promises.retries.honours_retry_after and not waited:
        reason = "never exercised: nothing was tried again after a Retry-After"
        return results.inconclusive(reason, numbers)
    return results.held(
        f"{longest} of {1 + promises.retries.max} attempts at most",
        numbers,
    )


# -- more than promised, and too early ----------------------------------------------------------


def _chains(history: History) -> Iterator[tuple[Client, Chain]]:
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            for chain in _chains_of(start.calls_of.get(client.nonce, ())):
                yield (start, played, client), chain


def _chains_of(calls: tuple[Call, ...]) -> Iterator[Chain]:
    groups: defaultdict[tuple[str, str, str], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.provider, call.route, call.body_hash].append(call)
    for group in groups.values():
        chain: list[Call] = []
        for call in group:
            if chain and call.read_ns < chain[-1].inner_end_ns:
                continue  # Nothing had failed yet: a hedge, and no retry.
            chain.append(call)
            if call.finished:
                yield tuple(chain)
                chain = []
        if chain:
            yield tuple(chain)


def _failed(call: Call) -> bool:
    """The provider answered an error or broke off."""
    return not call.finished and call.ended_by in {"fake", "cut"}


def _retry_after(played: PlayedRound) -> int:
    """The seconds that first attempts were told to wait in this round; 0 where none were."""
    word, _, told = played.round.part.partition(" ")
    return int(told) if word == "Retry-After" and told.isdecimal() else 0


def _too_early(failed: Call, again: Call, told_s: int) -> bool:
    """The next attempt came before the time that the failed one's head had told."""
    due_ns = failed.inner_end_ns + told_s * 1_000_000_000 - SLACK_NS
    told = failed.status is not None and failed.status >= 400 and failed.ended_by == "fake"
    return told and failed.outer_end_ns < again.accepted_ns and again.read_ns < due_ns


def _early(client: Client, pair: Chain, told_s: int) -> Finding:
    failed, again = pair
    after = witness.seconds(again.read_ns - failed.inner_end_ns)
    sentence = (
        f"The provider said to come back after {told_s} s, and the next attempt for nonce "
        f"{client[2].nonce} came after {after}."
    )
    summary = f"again after {after}, told {told_s} s"
    return results.violated(summary, _witness(client, pair, sentence))


# -- for a client that left ---------------------------------------------------------------------


def _retried_for_nobody(history: History, promises: Promises) -> Finding | None:
    for route, its in sorted(_left(history, promises).items()):
        if len(its.late) >= TRIES and len(its.late) == its.tried:
            client, chain = its.late[0]
            since = witness.seconds(chain[1].accepted_ns - (client[2].hang_up_ns or 0))
            sentence = (
                f"{len(its.late)} times of {its.tried} a call was tried again for a client that "
                f"had left; for nonce {client[2].nonce} {since} after it left."
            )
            summary = f"for clients that left: {route}"
            return results.violated(summary, _witness(client, chain, sentence))
    return None


def _left(history: History, promises: Promises) -> dict[str, _Left]:
    """By route: the clients that left while a call of theirs was open at its provider."""
    cancel = promises.cancel
    gone_ns = int(max(GONE_S, cancel.within_s if cancel else 0.0) * 1e9)
    seen: defaultdict[str, _Left] = defaultdict(_Left)
    for start, played in history.rounds("leave-before-error"):
        for client in played.observations:
            left_ns = client.hang_up_ns
            calls = start.calls_of.get(client.nonce, ())
            if left_ns is None or not any(c.read_ns < left_ns < c.outer_end_ns for c in calls):
                continue
            its = seen[client.route]
            its.tried += 1
            for chain in _chains_of(calls):
                late = [c for c in chain[1:] if c.accepted_ns >= left_ns + gone_ns]
                until_ns = left_ns + gone_ns
                quiet = 10 * start.worst_stall_ns(left_ns, until_ns) < gone_ns
                if late and quiet and _failed(chain[chain.index(late[0]) - 1]):
                    its.late.append(((start, played, client), (chain[0], *late)))
                    break
    return seen


def _witness(client: Client, calls: Chain, sentence: str) -> Witness:
    start, played, seen = client
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            f"nonce {seen.nonce}: {witness.client_line(played, seen)}",
            *(
                f"attempt {call.attempt}: {witness.call_line(start, played, call)}; "
                f"status {call.status}"
                for call in calls[:6]
            ),
        ),
    )


CHECKS = (
    Check(
        id="answers/attempts",
        needs=needs_retries,
        scenarios=SCENARIOS,
        judge=attempts,
        promised="A failed call is tried again no more often than promised, not before the time "
        "that Retry-After tells (where that is promised), and not for a client that has left.",
        proved="The evidence has more calls of one body for one client than promised, each after "
        "one that failed; or the next one came before the time told, counted from before the head "
        "was written; or three times of three a call was tried again a second or more after its "
        "client had left.",
        doubt="In the router's favour: calls with another body, path or provider are no retries, "
        "and a good answer begins the count anew; 50 ms early are on time. Inconclusive where no "
        "call failed, too few clients left, or nothing was tried again after a Retry-After.",
        bug="Layers that each retry for themselves, retries that outlive their client, a backoff "
        "of one's own in place of the provider's word: BerriAI/litellm PR #25285, "
        "maximhq/bifrost #7035, musistudio/claude-code-router PR #1605.",
        fix="Retry in one place, count there, wait for as long as Retry-After says, and stop when "
        "the client is gone.",
    ),
)
