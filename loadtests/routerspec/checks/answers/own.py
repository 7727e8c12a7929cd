"""Whether each client receives its own answer, and a provider's: answers/own.

An answer is a client's own where a call of its nonce made it: the text alone, which a router can
forge, shows nothing. Direction of doubt: text without a token of ours may be the router's own, so
an answer for which no provider was called accuses only where its closing token is complete, and
otherwise keeps the check from holding.
"""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.answers.whole import COMPARED, SCENARIOS
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness


def _own(history: History, _promises: Promises) -> Finding:
    compared = 0
    unknown: list[str] = []
    for start, played in history.rounds(*SCENARIOS):
        usual = tokens.just_whole(start, played.observations)
        compared += int(usual.sum())
        for client in played.observations.only(~usual):
            other = tokens.stranger(start, client)
            if other is not None:
                shown = _mixed(start, played, client, other)
                return results.violated("a client received another's answer", shown)
            if tokens.forged(start, client):
                shown = _made_up(start, played, client)
                return results.violated("an answer that no provider gave", shown)
            compared += tokens.given(start, client)
            if _of_nobody(start, client):
                unknown.append(f"nonce {client.nonce}, start {start.info.name}")
    numbers = {"compared": compared}
    if unknown:
        numbers["of_no_provider"] = len(unknown)
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        return results.inconclusive(
            f"a client was answered, and no provider was called for it ({unknown[0]}){more}",
            numbers,
        )
    if compared < COMPARED:
        return results.too_few(compared, "answers were compared", COMPARED, numbers)
    return results.held(f"{compared} answers, each its client's own", numbers)


def _of_nobody(start: StartHistory, client: Observation) -> bool:
    """Answered with a text, as if by a provider, and no call was made for it."""
    return (
        client.outcome == "answered"
        and bool(client.text)
        and not client.error
        and client.nonce not in start.calls_of
    )


def _mixed(
    start: StartHistory, played: PlayedRound, client: Observation, other: Call | int
) -> Witness:
    if isinstance(other, int):
        calls = start.calls_of[other]
        nonce = other
    else:
        calls = (other,)
        nonce = other.nonces[0]
    return Witness(
        sentence=f"The client of nonce {client.nonce} received text made for nonce {nonce}.",
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            tokens.excerpt(client),
            *(witness.call_line(start, played, call) for call in calls[:1]),
        ),
    )


def _made_up(start: StartHistory, played: PlayedRound, client: Observation) -> Witness:
    calls = start.calls_of.get(client.nonce, ())
    return Witness(
        sentence=f"The client of nonce {client.nonce} received a complete answer, and no provider "
        "made it.",
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            tokens.excerpt(client),
            f"calls of nonce {client.nonce} at any provider: {len(calls)}",
            *(witness.call_line(start, played, call) for call in calls[:2]),
        ),
    )


OWN = Check(
    id="answers/own",
    promise=Promises,
    scenarios=SCENARIOS,
    plays=("load",),
    judge=_own,
    compares_clocks=False,
    promised="Every client receives its own answer, from a provider, and nothing of another's.",
    proved="A client's text has a token that the evidence shows was made for another client, or "
    "ends like a whole answer, checksum and all, of a call that no provider received.",
    doubt="In the router's favour: digits that match no call of the evidence accuse nobody. "
    "Inconclusive where a client was answered with any other text and no provider was called for "
    "it, as by a canned answer, and with fewer than twenty answers compared.",
    bug="Pooled connections or buffers reused after a cancellation, shared client objects: the "
    "OpenAI outage of March 20, 2023 (redis/redis-py #2624, #2665), cloudflare/ai #620, "
    "maximhq/bifrost #6143.",
    fix="Never return a connection to the pool whose answer was not read to its end.",
)
