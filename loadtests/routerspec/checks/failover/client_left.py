"""Nobody is asked for a client that has left: failover/client-left."""

from __future__ import annotations

from collections import defaultdict

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.failover.tried import has_failed, one_server
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import GONE_S, TRIES
from routerspec.promises import Failover
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("failover-left",)

_Late = tuple[StartHistory, PlayedRound, Observation, tuple[Call, ...]]


def _client_left(history: History, _promise: Failover) -> Finding:
    tallies = _left(history)
    left = sum(its.met + len(its.missed) for its in tallies.values())
    numbers = {"left": left}
    for route, its in sorted(tallies.items()):
        if its.proof:
            return results.violated(
                f"asked for clients that had left: {route}", _witness(its.missed), numbers
            )
    if left < TRIES:
        what = "clients disconnected while their call was held"
        return results.too_few(left, what, TRIES, numbers)
    if any(its.missed for its in tallies.values()):
        return results.inconclusive("asked for some clients that had left, not for all", numbers)
    return results.held(f"nobody asked for {left} clients that had left", numbers)


def _left(history: History) -> dict[str, Deadlines[_Late]]:
    cancel = history.promises.cancel
    gone_ns = int(max(GONE_S, cancel.within_s if cancel else 0.0) * 1e9)
    tallies: defaultdict[str, Deadlines[_Late]] = defaultdict(Deadlines)
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            left_ns, calls = client.hang_up_ns, start.calls_of.get(client.nonce, ())
            if left_ns is None or not any(c.read_ns < left_ns < c.outer_end_ns for c in calls):
                continue
            its = tallies[client.route]
            late = tuple(
                call
                for index, call in enumerate(calls)
                if call.accepted_ns >= left_ns + gone_ns and any(map(has_failed, calls[:index]))
            )
            if not late:
                its.met += 1
            elif start.is_quiet(left_ns, left_ns + gone_ns, gone_ns):
                its.missed.append((start, played, client, (calls[0], *late)))
            else:
                its.noisy += 1
    return tallies


def _witness(missed: list[_Late]) -> Witness:
    start, played, client, calls = missed[0]
    since = witness.seconds(calls[1].accepted_ns - (client.hang_up_ns or 0))
    sentence = (
        f"{len(missed)} times of {len(missed)} an instance was asked for a client that had "
        f"disconnected; for nonce {client.nonce} {since} after the disconnect."
    )
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            *(witness.attempt_line(start, played, call) for call in calls[:6]),
        ),
    )


CLIENT_LEFT = Check(
    id="failover/client-left",
    promise=Failover,
    scenarios=SCENARIOS,
    timed=True,
    needs_target=one_server,
    judge=_client_left,
    promised="When the client of a request has disconnected, no further instance is asked.",
    proved="Three times of three a call for the request of a client that had disconnected was "
    "begun a second (`cancel.within_s`, if that is longer) or more after the disconnect, after "
    "another one had failed.",
    doubt="In the router's favour: a call that was open at the disconnect may run on to its end, "
    "and a stall of a tenth of the time proves nothing. Inconclusive where fewer than "
    f"{TRIES} clients disconnected while a call of theirs was held.",
    bug="Fallbacks that outlive their client: BerriAI/litellm PR #25285 and maximhq/bifrost #7035.",
    fix="Stop the loop of attempts where the client's disconnect is seen, and look for it before "
    "each attempt.",
)
