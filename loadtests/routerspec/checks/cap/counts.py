"""Counting the tokens of a prompt while all slots are occupied: cap/count-tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.held_calls import Proof
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import (
    COUNTED_AFTER,
    COUNTED_BESIDE,
    COUNTED_FREE,
    COUNTS,
    NO_SUCH_MODE,
)
from routerspec.promises import Cap, Promises
from routerspec.records.observations import ClientTranscript
from routerspec.verdict import Finding, Kind, Number, Witness

PATIENCE_NS: Final = 1_000_000_000
QUIET_NS: Final = 100_000_000
"""No stall may last longer while the requests wait."""
SLOW_ANYWAY_NS: Final = 500_000_000
ROUNDS: Final = 2
"""Rounds of a route that it takes to accuse: a single one may have met another limit."""
_GOOD: Final = range(200, 300)

Counts = tuple[ClientTranscript, ...]


@dataclass(slots=True)
class _Seen:
    """What the rounds show, by route."""

    kept: Counter[str] = field(default_factory=Counter)
    """Rounds in which the tokens were counted while all slots were occupied."""
    broken: defaultdict[str, list[Witness]] = field(default_factory=lambda: defaultdict(list))
    unserved: set[str] = field(default_factory=set)
    reasons: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Why a round proves nothing -> the routes of such rounds."""

    def add(self, start: StartHistory, played: PlayedRound, cap: Cap) -> None:
        """Put one round where it belongs."""
        route = played.round.route
        if _is_unserved(played):
            self.unserved.add(route)
            return
        proof = _occupied(start, played, cap)
        found = _unfit(played) if proof is None else _beside(start, played, cap, proof)
        if found is None:
            self.kept[route] += 1
        elif isinstance(found, Witness):
            self.broken[route].append(found)
        else:
            self.reasons[found].append(route)

    @property
    def shown(self) -> tuple[str, Witness] | None:
        """A route whose counts need a slot in every round that tells, and the proof."""
        proven = (its for its in self.broken.items() if len(its[1]) >= ROUNDS)
        return next(((route, its[0]) for route, its in proven if not self.kept[route]), None)

    @property
    def doubts(self) -> dict[str, list[str]]:
        """Why nothing can be said of some routes; empty when there are none."""
        unclear = {
            why: [route for route in dict.fromkeys(routes) if not self.kept[route]]
            for why, routes in self.reasons.items()
        }
        unclear["counts needed a slot in one round only"] = list(self.broken)
        return {why: routes for why, routes in unclear.items() if routes}


def _count_tokens(history: History, cap: Cap) -> Finding:
    if not any(route.front == "anthropic" for route in history.info.routes):
        return results.not_applicable("no route speaks Anthropic's Messages")
    seen = _Seen()
    for start, played in history.rounds("count-tokens"):
        if generated := _generated(start, played):
            return results.violated(f"a count made a call: {played.round.route}", generated)
        seen.add(start, played, cap)
    if seen.shown:
        route, proof = seen.shown
        return results.violated(f"counts need a slot: {route}", proof)
    return _unbroken(seen)


def _unbroken(seen: _Seen) -> Finding:
    numbers: dict[str, Number] = {
        "routes": sum(n > 0 for n in seen.kept.values()),
        "counts": COUNTS * seen.kept.total(),
    }
    if seen.doubts:
        return results.inconclusive(results.joined(seen.doubts), numbers)
    if seen.kept.total():
        return results.held("counted while all slots were occupied", numbers)
    if seen.unserved:
        return results.not_applicable(f"not served: {', '.join(sorted(seen.unserved))}", numbers)
    return results.never_exercised("no tokens were counted", numbers)


def _of(played: PlayedRound, part: str) -> Counts:
    return tuple(t for t in played.transcripts if t.part == part)


def _status(count: ClientTranscript) -> int:
    """0: no head of a response came."""
    return count.response.status if count.response else 0


def _are_good(counts: Counts) -> bool:
    return len(counts) >= COUNTS and all(_status(each) in _GOOD for each in counts)


def _is_unserved(played: PlayedRound) -> bool:
    free = _of(played, COUNTED_FREE)
    return bool(free) and all(_status(each) in NO_SUCH_MODE for each in free)


def _unfit(played: PlayedRound) -> str:
    """Why a round proves nothing in which all slots are not shown to have been occupied."""
    free = _of(played, COUNTED_FREE)
    if not _are_good(free):
        statuses = sorted({str(_status(each) or "no answer") for each in free})
        return f"with free slots, a count got {' and '.join(statuses) or 'no answer'}"
    return "no two snapshots show all slots occupied around the counts"


def _occupied(start: StartHistory, played: PlayedRound, cap: Cap) -> Proof | None:
    """All slots occupied from before the first count to the second snapshot; None: not shown."""
    counts, limit = _of(played, COUNTED_BESIDE), start.info.settings.cap
    proof = held_calls.most_proven(start, played, cap)
    if limit is None or proof is None or held_calls.count(cap, proof.calls) < limit:
        return None
    if len(counts) < COUNTS or not _are_good(_of(played, COUNTED_FREE)):
        return None
    after = all(c.sent_ns is not None and c.sent_ns >= proof.first.answered_ns for c in counts)
    return proof if after else None


def _beside(
    start: StartHistory, played: PlayedRound, cap: Cap, proof: Proof
) -> Witness | str | None:
    """What the counts show that were sent while all slots were occupied.

    None: they were answered meanwhile. Else the proof that they need a slot, or why nothing is
    proven.
    """
    counts, until = _of(played, COUNTED_BESIDE), proof.second.asked_ns
    if any(count.lost or count.fault for count in counts):
        return "a connection broke while tokens were counted"
    in_time = tuple(count for count in counts if (count.end_ns or until) < until)
    if not in_time:
        return _waited(start, played, proof)
    if len(in_time) < len(counts):
        return "some counts were answered while all slots were occupied, others were not"
    if all(_status(each) in _GOOD for each in counts):
        return None
    if all(_status(each) in cap.rejections for each in counts):
        return _refused(start, played, proof)
    return "counts failed while all slots were occupied"


def _waited(start: StartHistory, played: PlayedRound, proof: Proof) -> Witness | str:
    """That none was answered before the release, and why; or what else may have delayed them."""
    counts, released = _of(played, COUNTED_BESIDE), played.released_ns("gate")
    if released is None or not all(_status(each) in _GOOD for each in counts):
        return "counts were not answered once the calls were released"
    return _other_cause(start, played, released) or _witness(
        start,
        played,
        proof,
        f"{len(counts)} of {len(counts)} requests that count tokens got no answer for at least a "
        f"second, until the calls were released {witness.at(played, released)}.",
    )


def _other_cause(start: StartHistory, played: PlayedRound, released: int) -> str:
    """What else may have delayed the counts; empty when nothing did."""
    counts = _of(played, COUNTED_BESIDE)
    sent = [count.sent_ns for count in counts if count.sent_ns is not None]
    nonces = {count.nonce for count in counts}
    others = {
        "a count was answered before the calls were released": any(
            (count.end_ns or 0) <= released for count in counts
        ),
        "a count had less than a second": released - max(sent) < PATIENCE_NS,
        "the harness stalled meanwhile": start.worst_stall_ns(min(sent), released) >= QUIET_NS,
        "counts are slow with free slots, too": _usual_ns(played) >= SLOW_ANYWAY_NS,
        "a provider was asked for a count while all slots were occupied": any(
            asked.read_ns < released and nonces.intersection(asked.nonces)
            for asked in start.token_counts
        ),
    }
    return next((why for why, so in others.items() if so), "")


def _usual_ns(played: PlayedRound) -> int:
    """The longest that a count took with free slots."""
    free = _of(played, COUNTED_FREE)
    return max((c.end_ns or 0) - (c.sent_ns or 0) for c in free)


def _refused(start: StartHistory, played: PlayedRound, proof: Proof) -> Witness | str:
    """That they were refused for want of a slot: before and after, none was."""
    if not _are_good(_of(played, COUNTED_AFTER)):
        return "counts were refused once slots were free again, too"
    counts = _of(played, COUNTED_BESIDE)
    statuses = " and ".join(sorted({str(_status(each)) for each in counts}))
    return _witness(
        start,
        played,
        proof,
        f"{len(counts)} of {len(counts)} requests that count tokens were refused with {statuses}; "
        "with free slots, before and after, as many were answered.",
    )


def _generated(start: StartHistory, played: PlayedRound) -> Witness | None:
    """A call that a provider answered for a request to count tokens; None: there was none."""
    for count in played.transcripts:
        for call in start.calls_of.get(count.nonce, ()):
            if call.status in _GOOD:
                return Witness(
                    sentence="A request that counts tokens became a call that generates an answer.",
                    facts=(
                        witness.where(start, played),
                        _line(played, count),
                        witness.call_line(start, played, call),
                    ),
                )
    return None


def _witness(start: StartHistory, played: PlayedRound, proof: Proof, what: str) -> Witness:
    shown = [*_of(played, COUNTED_FREE), *_of(played, COUNTED_BESIDE), *_of(played, COUNTED_AFTER)]
    return Witness(
        sentence=f"With {len(proof.calls)} calls held, which occupy all slots, {what}",
        facts=(
            witness.where(start, played),
            witness.snapshot_line(played, proof.first),
            witness.snapshot_line(played, proof.second),
            *(witness.call_line(start, played, call) for call in proof.calls),
            *(_line(played, count) for count in shown),
        ),
    )


def _line(played: PlayedRound, count: ClientTranscript) -> str:
    return (
        f"nonce {count.nonce}: POST {count.request.target} ({count.part}) sent "
        f"{witness.at(played, count.sent_ns)}, status {_status(count) or 'none'}, ended "
        f"{witness.at(played, count.end_ns)}"
    )


def _exempt(promises: Promises) -> str:
    if promises.cap is not None and promises.cap.counts == "requests":
        return "the cap is promised to count every request of a client"
    return ""


COUNT_TOKENS = Check(
    id="cap/count-tokens",
    promise=Cap,
    kind=Kind.SHOULD,
    exempt=_exempt,
    scenarios=("count-tokens",),
    judge=_count_tokens,
    promised="`POST /v1/messages/count_tokens`, where a route serves it, generates nothing: it is "
    "answered while all slots are occupied, and no provider gets a call for it.",
    proved="As many calls as the cap are held, in two snapshots with their clients waiting. Three "
    "of three counts that were sent in between got no answer for at least a second and were "
    "answered only after the release; or they were refused with a promised status, and as many "
    "were answered with free slots, before and after. So in two rounds, and in none otherwise. Or "
    "a provider answered a call that has the nonce of a count.",
    doubt="In the router's favour: one count answered in time, a stall, a provider that was asked "
    "for a count meanwhile, or counts that are slow or refused with free slots, too, make it "
    "inconclusive. A route that answers 404, 405 or 501 does not count tokens, and `counts = "
    '"requests"` in the cap\'s promise excuses a router that counts every request. A router may '
    "estimate the count itself.",
    bug="No public report of counts that wait for a slot. Agents count before a large prompt, and "
    "stand still behind a full queue although nothing is to be generated. Others answer before the "
    "queue (antirez/ds4 PR #90), or give counts a limit of their own (UKGovernmentBEIS/inspect_ai "
    "PR #4246).",
    fix="Answer or forward a count outside the block that holds the slot, and limit counts, where "
    "they need a limit, by one of their own.",
)
