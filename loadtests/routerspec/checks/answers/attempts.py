"""How often and when a failed call is tried again: answers/attempts.

``checks.retried`` says which calls are attempts of one request. A call after a good answer begins
the count anew; a call that came before the other had failed is a hedge, and no attempt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from fake_providers.records.evidence import Call
from routerspec.checks import results, retried, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.request.relays import SCENARIOS as BODIES
from routerspec.checks.request.relays import relays
from routerspec.checks.retried import EMPTY, Chain
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import GONE_S, TRIES
from routerspec.promises import Retries
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SLACK_NS = 50_000_000
"""A retry that is early by no more than this is on time."""
SCENARIOS = ("leave-before-error", "cut-stream", "upstream-error", "retry-after")

Client = tuple[StartHistory, PlayedRound, Observation]


def _attempts(history: History, retries: Retries) -> Finding:
    found = list(retried.chains(history, *SCENARIOS, direct=relays(history).direct))
    chains = [((its.start, its.played, its.client), chain) for its in found for chain in its.chains]
    left = _left(history, found)
    if accused := _for_nobody(left) or _too_many_or_early(chains, retries):
        return accused
    failures = sum(any(map(_failed, chain)) for _, chain in chains)
    longest = max((len(chain) for _, chain in chains), default=0)
    waited = sum(len(chain) > 1 and _retry_after(client, retries) > 0 for client, chain in chains)
    disconnected = sum(its.met + len(its.missed) for its in left.values())
    changed = Counter(
        {
            "with an empty body": retried.count_empty(chain for _, chain in chains),
            "with another body": sum(map(retried.other_bodies, found)),
        }
    )
    numbers = {
        "failures": failures,
        "left": disconnected,
        "after Retry-After": waited,
        "most": longest,
        **{what: count for what, count in changed.items() if count},
    }
    if not failures:
        return results.never_exercised("no call failed", numbers)
    chats = any(mode == "chat" for _, mode in history.cells)
    if chats and disconnected < TRIES:
        what = "clients disconnected while a call was held"
        return results.too_few(disconnected, what, TRIES, numbers)
    if chats and retries.max and retries.honours_retry_after and not waited:
        return results.never_exercised("no call was retried after a Retry-After", numbers)
    more = retried.in_words(changed)
    summary = f"at most {longest} of {1 + retries.max} attempts"
    return results.held(
        f"{summary}; calls after a failed one: {more}" if more else summary, numbers
    )


# -- more than promised, and too early ----------------------------------------------------------


def _too_many_or_early(chains: list[tuple[Client, Chain]], retries: Retries) -> Finding | None:
    most = 1 + retries.max
    for client, chain in chains:
        if len(chain) > most:
            sentence = (
                f"The answer of nonce {client[2].nonce} was requested {len(chain)} times from its "
                f"provider; at most {retries.max} retries are promised."
            )
            summary = f"{len(chain)} attempts, {most} promised"
            if empty := retried.count_empty([chain]):
                summary = f"{summary}, {empty} with an empty body"
            return results.violated(summary, _witness(client, chain, sentence))
        after_s = _retry_after(client, retries)
        # Only the first attempt is answered with a Retry-After.
        if after_s and len(chain) > 1 and _too_early(chain[0], chain[1], after_s):
            return _early(client, chain[:2], after_s)
    return None


def _failed(call: Call) -> bool:
    """The provider answered an error or broke off."""
    return not call.finished and call.ended_by in {"fake", "cut"}


def _retry_after(client: Client, retries: Retries) -> int:
    """The Retry-After of first attempts in the client's round, where it is promised; 0: none."""
    name, _, seconds = client[1].round.part.partition(" ")
    sent = retries.honours_retry_after and name == "Retry-After" and seconds.isdecimal()
    return int(seconds) if sent else 0


def _too_early(failed: Call, again: Call, after_s: int) -> bool:
    """The next attempt came before the Retry-After of the failed one had passed."""
    due_ns = failed.inner_end_ns + after_s * 1_000_000_000 - SLACK_NS
    refused = failed.status is not None and failed.status >= 400 and failed.ended_by == "fake"
    return refused and failed.outer_end_ns < again.accepted_ns and again.read_ns < due_ns


def _early(client: Client, pair: Chain, after_s: int) -> Finding:
    failed, again = pair
    after = witness.seconds(again.read_ns - failed.inner_end_ns)
    sentence = (
        f"The provider answered with Retry-After: {after_s}, and the next attempt for nonce "
        f"{client[2].nonce} arrived after {after}."
    )
    summary = f"retried after {after}, Retry-After {after_s} s"
    return results.violated(summary, _witness(client, pair, sentence))


# -- for a client that disconnected -------------------------------------------------------------


def _for_nobody(left: Mapping[str, Deadlines[tuple[Client, Chain]]]) -> Finding | None:
    for route, its in sorted(left.items()):
        if its.proof:
            client, chain = its.missed[0]
            since = witness.seconds(chain[1].accepted_ns - (client[2].hang_up_ns or 0))
            sentence = (
                f"{len(its.missed)} times of {len(its.missed)} a call was retried for a client "
                f"that had disconnected; for nonce {client[2].nonce} {since} after the disconnect."
            )
            summary = f"retried for disconnected clients: {route}"
            return results.violated(summary, _witness(client, chain, sentence))
    return None


def _left(
    history: History, found: Iterable[retried.Chains]
) -> dict[str, Deadlines[tuple[Client, Chain]]]:
    """By route: the clients that disconnected while a call of theirs was open at its provider.

    The deadline is the last moment at which a retry may begin; a retry in a moment that was not
    quiet is no evidence.
    """
    cancel = history.promises.cancel
    gone_ns = int(max(GONE_S, cancel.within_s if cancel else 0.0) * 1e9)
    tallies: defaultdict[str, Deadlines[tuple[Client, Chain]]] = defaultdict(Deadlines)
    for each in found:
        start, client, left_ns = each.start, each.client, each.client.hang_up_ns
        if each.played.round.scenario != "leave-before-error" or left_ns is None:
            continue
        calls = start.calls_of.get(client.nonce, ())
        if not any(c.read_ns < left_ns < c.outer_end_ns for c in calls):
            continue
        its = tallies[client.route]
        late = _late(each.chains, left_ns, gone_ns)
        if late and not start.is_quiet(left_ns, left_ns + gone_ns, gone_ns):
            its.noisy += 1
        elif late:
            its.missed.append(((start, each.played, client), late))
        else:
            its.met += 1
    return tallies


def _late(chains: Iterable[Chain], left_ns: int, gone_ns: int) -> Chain:
    """The first attempt of a chain and those that began when its client was gone; mostly none."""
    for chain in chains:
        late = [call for call in chain[1:] if call.accepted_ns >= left_ns + gone_ns]
        if late and _failed(chain[chain.index(late[0]) - 1]):
            return (chain[0], *late)
    return ()


def _witness(client: Client, calls: Chain, sentence: str) -> Witness:
    start, played, observation = client
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, observation),
            *(
                f"attempt {number}: {witness.call_line(start, played, call)}; "
                f"status {call.status}{', an empty body' if call.body_hash == EMPTY else ''}"
                for number, call in enumerate(calls[:6], 1)
            ),
        ),
    )


ATTEMPTS = Check(
    id="answers/attempts",
    promise=Retries,
    scenarios=(*SCENARIOS, *BODIES),
    judge=_attempts,
    promised="A failed call is retried no more often than promised, not before its Retry-After "
    "(where that is promised), and not for a client that has disconnected.",
    proved="The evidence has more calls for one client than promised at one provider, path and "
    "model, each after one that failed (and of one body, unless a plain request shows that the "
    "route sends a request on as one call); or the next one came before Retry-After had passed, "
    "counted from before the response headers were written; or three times of three a call was "
    "retried a second (`cancel.within_s`, if that is longer) or more after its client had "
    "disconnected.",
    doubt="In the router's favour: calls to another model, path or provider are no retries, nor "
    "are calls with another body on the route of an agent, and a good answer begins the count "
    "anew. A call with an empty body counts for the client with the fewest attempts of those whose "
    "call had failed, and not where the router makes such calls anyway. 50 ms early is on time; a "
    "retry during a stall of a tenth of the time proves nothing. Inconclusive where no call "
    "failed, fewer than three clients disconnected in a quiet moment, or no call was retried after "
    "a Retry-After.",
    bug="Several layers that each retry, retries that outlive their client, a fixed backoff in "
    "place of the provider's Retry-After: BerriAI/litellm PR #25285, maximhq/bifrost #7035, "
    "musistudio/claude-code-router PR #1605.",
    fix="Retry in one place, count there, wait as long as Retry-After says, and stop when the "
    "client has disconnected.",
)
