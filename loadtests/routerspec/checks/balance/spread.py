"""Calls are spread as promised: balance/spread.

``round-robin`` is counted: over some hundred calls an instance may be off its due number by the
tolerance, and by one call for each process of the router that counts by itself.

``random`` and ``weighted`` may draw lots, so chance is given its due. Each instance's count is
compared with the edge of what is promised, its due share plus or minus the tolerance, by the exact
tail of the binomial distribution. A count accuses where that tail is below one in a million,
divided by the number of tails that the run looks at (two an instance and round): a sound policy
that draws lots is accused less often than once in a million runs, wherever within the tolerance
its shares are. A tail below one in a thousand leaves it undecided.

``least-busy`` is judged by facts, in ``choices``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routerspec.checks import chance, instances, results, witness
from routerspec.checks.balance import choices
from routerspec.checks.balance.excuses import excuse
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import spread_calls
from routerspec.promises import Balance
from routerspec.verdict import Finding, Number, Witness

COUNTED: Final = "balance-spread"
UNDECIDED: Final = 1e-3
_ENOUGH: Final = 0.8
"""The part of the calls sent that must have reached an instance."""


def _spread(history: History, balance: Balance) -> Finding:
    if balance.policy == "least-busy":
        return choices.least_busy(history)
    return _shares(history, balance)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """One round: how many calls each instance was given."""

    start: StartHistory
    played: PlayedRound
    counts: dict[str, int]
    due: dict[str, float]
    """Instance -> its due share."""
    excuse: str
    """Why a wrong spread need not be the router's choice; mostly empty."""

    @property
    def calls(self) -> int:
        return sum(self.counts.values())

    def off(self, name: str) -> float:
        """How far an instance's count is from its due number, in calls."""
        return abs(self.counts[name] - self.due[name] * self.calls)


def _shares(history: History, balance: Balance) -> Finding:
    rounds = [
        _counted(history, balance, start, played, pool)
        for provider, pool in instances.pools(history).items()
        for start, played in history.rounds(COUNTED)
        if played.round.part == provider
    ]
    numbers: dict[str, Number] = {}
    for its in rounds:
        numbers |= {name: numbers.get(name, 0) + count for name, count in its.counts.items()}
    if balance.policy is None:
        told = ", ".join(f"{name} {count}" for name, count in numbers.items()) or "nothing"
        return results.not_applicable(
            f"no policy is promised; calls were given to: {told}", numbers
        )
    if not rounds:
        return results.never_exercised("no calls were counted", numbers)
    tails = sum(2 * len(its.counts) for its in rounds)
    odds = {id(its): _odds(its, balance, history.promises.workers) for its in rounds}
    wrong = [its for its in rounds if odds[id(its)] * tails < chance.ACCUSES]
    for its in wrong:
        if not its.excuse:
            return _wrong(its, balance, numbers)
    if wrong:
        return results.inconclusive(
            f"the spread is not the promised one, but {wrong[0].excuse}", numbers
        )
    return _undecided(rounds, balance, tails * min(odds.values()), numbers) or results.held(
        f"{balance.policy} over {_listed(numbers)}", numbers
    )


def _undecided(
    rounds: list[_Counted], balance: Balance, worst: float, numbers: dict[str, Number]
) -> Finding | None:
    """Why the counts neither accuse nor hold; ``worst``: the smallest tail of all, shared out."""
    for its in rounds:
        needed = int(_ENOUGH * spread_calls(balance) * len(its.counts))
        if its.calls < needed:
            return results.too_few(its.calls, "calls were counted", needed, numbers)
    if worst < UNDECIDED:
        return results.inconclusive(
            "the spread is off by more than the tolerance, but chance may explain it", numbers
        )
    return None


def _counted(
    history: History,
    balance: Balance,
    start: StartHistory,
    played: PlayedRound,
    pool: tuple[str, ...],
) -> _Counted:
    counts = instances.counted((call for _, call in instances.requests(start, played)), pool)
    return _Counted(
        start=start,
        played=played,
        counts=counts,
        due=_due(balance, pool),
        excuse=excuse(history, start, played, pool),
    )


def _due(balance: Balance, pool: tuple[str, ...]) -> dict[str, float]:
    """Instance -> its due share; an instance without a stated weight counts once."""
    stated = balance.weights if balance.policy == "weighted" else ()
    weights = [*stated[: len(pool)], *(1 for _ in pool[len(stated) :])]
    return {name: each / sum(weights) for name, each in zip(pool, weights, strict=True)}


def _odds(its: _Counted, balance: Balance, workers: int) -> float:
    """The smallest tail of any instance; of ``round-robin``, which draws no lots, 0 or 1."""
    calls, edge = its.calls, balance.tolerance
    if balance.policy == "round-robin":
        return float(
            all(its.off(name) <= edge * due * calls + workers for name, due in its.due.items())
        )
    return min(
        min(
            chance.at_least(its.counts[name], calls, min(1.0, due * (1 + edge))),
            chance.at_most(its.counts[name], calls, due * (1 - edge)),
        )
        for name, due in its.due.items()
    )


def _wrong(its: _Counted, balance: Balance, numbers: dict[str, Number]) -> Finding:
    name = max(its.due, key=its.off)
    count, due = its.counts[name], its.due[name]
    sentence = (
        f"Of {its.calls} calls that were sent while all instances answered, {name} was given "
        f"{count}; {balance.policy} promises it {due * its.calls:.0f}, within "
        f"{balance.tolerance:.0%}."
    )
    examples = [
        witness.call_line(its.start, its.played, call)
        for _, call in instances.requests(its.start, its.played)
    ]
    facts = (
        witness.where(its.start, its.played),
        *(f"{each}: {its.counts[each]} calls, {its.due[each] * its.calls:.0f} due"
          for each in its.due),
        "the first calls:",
        *examples[:4],
    )  # fmt: skip
    summary = f"{name} was given {count} of {its.calls} calls, {due * its.calls:.0f} were due"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _listed(numbers: dict[str, Number]) -> str:
    return ", ".join(f"{name} {count}" for name, count in numbers.items())


SPREAD = Check(
    id="balance/spread",
    promise=Balance,
    scenarios=(COUNTED, choices.SCENARIO),
    judge=_spread,
    needs_target=instances.needed,
    promised="Calls are spread over the instances of a provider by the promised policy.",
    proved="While all instances answer, an instance is given more or fewer calls than the "
    "tolerance and chance explain; of `least-busy`, two calls were given to an instance with "
    "a call open, while another had none before and after.",
    doubt="In the router's favour: only the first call of a request counts; a policy that draws "
    "lots is accused less than once in a million runs; an instance that failed within "
    "`recovery_s` before, a stall of ours that may have failed a health check, and calls of the "
    "router's own excuse. Requests carry no session. Without a promised policy the spread is "
    "reported, not judged.",
    bug="A counter that goes below zero wins every later selection: BerriAI/litellm PR #40401 "
    "(93.7 % of calls to one of four); weights are ignored: BerriAI/litellm #37622, #33329; a "
    "burst sees the same snapshot of load: llm-d/llm-d-router PR #1739.",
    fix="Choose and count in one step, and count a call's end exactly once, however it ends.",
)
