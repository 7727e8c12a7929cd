"""Each instance has a cap of its own, and none is idle while others queue: balance/cap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, instances, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Balance, Promises
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("balance-cap",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Two snapshots of one round, far enough apart, and what both of them show."""

    start: StartHistory
    played: PlayedRound
    first: Snapshot
    second: Snapshot
    calls: dict[str, list[Call]]
    """Instance -> its calls that were open from one to the other, their clients waiting."""
    idle: tuple[str, ...]
    """Instances with no call at all in either."""
    queued: tuple[int, ...]
    """Clients that waited in both, and had no call in either."""
    settled: bool

    def most(self) -> str:
        """The instance with the most calls."""
        return max(self.calls, key=lambda name: len(self.calls[name]))


def _cap(history: History, balance: Balance) -> Finding:
    limit = balance.instance_cap
    assert limit is not None
    pairs = [
        pair
        for provider, pool in instances.pools(history).items()
        for start, played in history.rounds(*SCENARIOS)
        if played.round.part.split()[0] == provider
        for pair in _pairs(start, played, pool)
    ]
    numbers: dict[str, Number] = {}
    for pair in pairs:
        for name, calls in pair.calls.items():
            numbers[name] = max(numbers.get(name, 0), len(calls))
    for pair in pairs:
        if len(pair.calls[pair.most()]) > limit:
            return _over(pair, limit, numbers)
    for pair in pairs:
        if _starved(history, pair):
            return _idle(pair, limit, numbers)
    if not pairs:
        return results.never_exercised("no calls were held at the instances", numbers)
    full = [p for p in pairs if p.queued and len(p.calls[p.most()]) == limit]
    if not full:
        return results.never_exercised(
            f"no instance had {limit} calls while another client waited", numbers
        )
    plain = [pair for pair in pairs if " " not in pair.played.round.part]
    if any(pair.idle and pair.queued for pair in plain):
        return results.inconclusive("an instance was idle while clients waited", numbers)
    return results.held(f"never more than {limit} at one instance", numbers)


def _pairs(start: StartHistory, played: PlayedRound, pool: tuple[str, ...]) -> Iterator[_Pair]:
    for index, first in enumerate(played.snapshots):
        later = (s for s in played.snapshots[index + 1 :] if held_calls.are_apart(first, s))
        for second in islice(later, 1):
            waits = held_calls.waits_at_both(start, first, second)
            calls: dict[str, list[Call]] = {name: [] for name in pool}
            for call in held_calls.open_through(start, first, second, waits):
                if call.provider in calls:
                    calls[call.provider].append(call)
            inside = {n for s in (first, second) for held in s.held for n in held.nonces}
            queued = set(first.waiting) & set(second.waiting) - inside
            yield _Pair(
                start=start,
                played=played,
                first=first,
                second=second,
                calls=calls,
                idle=tuple(n for n in pool if not first.open.get(n, 0) + second.open.get(n, 0)),
                queued=tuple(sorted(queued)),
                settled=first.settled and second.settled,
            )


def _starved(history: History, pair: _Pair) -> bool:
    """Whether an instance was idle while clients waited that nothing else kept waiting."""
    in_session = " " in pair.played.round.part  # They wait for their own instance.
    if in_session or not (pair.idle and pair.queued and pair.settled):
        return False
    cap = history.promises.cap
    if cap is not None:
        if cap.scope == "process" or history.promises.workers > 1:
            return False
        if sum(pair.second.open.values()) >= (pair.start.info.settings.cap or cap.limit):
            return False  # All slots are occupied: they wait for one of those.
    pool = tuple(pair.calls)
    failing = instances.failures(pair.start, pool)
    resting = instances.may_be_left_alone(pair.start, pair.played, failing, history.promises)
    return not resting and pair.start.is_quiet(pair.played.from_ns, pair.played.until_ns, 1e9)


def _over(pair: _Pair, limit: int, numbers: dict[str, Number]) -> Finding:
    name = pair.most()
    calls = pair.calls[name]
    gap = witness.seconds(pair.second.asked_ns - pair.first.answered_ns)
    sentence = (
        f"The cap of each instance is {limit}, and {len(calls)} calls were held open at {name} at "
        f"once, in two snapshots {gap} apart, with all of their clients waiting."
    )
    facts = (
        witness.where(pair.start, pair.played),
        witness.snapshot_line(pair.played, pair.first),
        witness.snapshot_line(pair.played, pair.second),
        *(witness.call_line(pair.start, pair.played, call) for call in calls[: limit + 1][:8]),
    )
    summary = f"{len(calls)} at once at {name}, its cap {limit}"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _idle(pair: _Pair, limit: int, numbers: dict[str, Number]) -> Finding:
    name = pair.idle[0]
    gap = witness.seconds(pair.second.asked_ns - pair.first.answered_ns)
    sentence = (
        f"{name} had no call at all in two snapshots {gap} apart, and {len(pair.queued)} clients "
        "waited in both without a call to any instance."
    )
    waiting = [pair.start.observed[n] for n in pair.queued if n in pair.start.observed]
    facts = (
        witness.where(pair.start, pair.played),
        witness.snapshot_line(pair.played, pair.first),
        witness.snapshot_line(pair.played, pair.second),
        *(f"{each}: {len(calls)} of {limit} calls" for each, calls in pair.calls.items()),
        *(witness.nonce_line(pair.played, client) for client in waiting[:4]),
    )
    summary = f"{name} is idle while {len(pair.queued)} clients wait"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _without_caps(promises: Promises) -> str:
    promised = promises.balance and promises.balance.instance_cap
    return "" if promised else "no cap of each instance is promised (instance_cap)"


CAP = Check(
    id="balance/cap",
    promise=Balance,
    scenarios=SCENARIOS,
    judge=_cap,
    exempt=_without_caps,
    needs_target=instances.needed,
    promised="At most `instance_cap` calls are in flight at each instance, and none is idle while "
    "requests wait.",
    proved="More calls are held open at one instance, in two snapshots at least 250 ms apart, with "
    "all of their clients waiting; or an instance has no call in both, and clients wait in both "
    "with no call to any.",
    doubt="In the router's favour: what makes a call doubtful for the shared cap does here, too. "
    "Idle accuses only at rest, with slots of a shared cap free, no failure of an instance within "
    "`recovery_s` before and no stall of ours. An instance below its cap that is not idle never "
    "accuses.",
    bug="A burst sees the same snapshot of load: llm-d/llm-d-router PR #1739; a counter that "
    "decrements twice admits too many: xLLM-AI/xllm PR #2148.",
    fix="Choose an instance and take its slot in one step; requests wait in one queue before the "
    "choice, not in one for each instance.",
)
