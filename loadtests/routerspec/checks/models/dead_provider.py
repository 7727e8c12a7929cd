"""A dead provider and the others' models: models/dead-provider. Pure.

Decides whether the models of providers that are well are still listed, in time, while another one
is down, talks nonsense or hangs. Refuses to know how long a router waits for a list.

Direction of doubt: a round counts only if the dead provider was asked in it and the others had
been in the list just before; both of its clients must be left without the others' models, which
every other provider was ready to give. What hangs accuses only three times out of three, and only
where nothing stalled for a tenth of the deadline. A list of one provider's models is ``not
applicable``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

CLIENTS = 2
TIMES = 3
"""So many rounds of three must have been late."""
STALL_NS = 100_000_000
KINDS = ("down", "text", "shape", "hang")

_ID = "models/dead-provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """One round with a dead provider."""

    start: StartHistory
    played: PlayedRound
    dead: str
    how: str
    others: frozenset[str]
    """The other providers that were in the list when all were well."""

    @property
    def asked_it(self) -> list[ListFetch]:
        """Fetches of the dead provider in the round."""
        return [fetch for fetch in self._fetches() if fetch.provider == self.dead]

    @property
    def unwell(self) -> list[ListFetch]:
        """Fetches of the others that were not answered with a list."""
        return [
            fetch
            for fetch in self._fetches()
            if fetch.provider in self.others and not (fetch.answered and fetch.status == 200)
        ]

    def _fetches(self) -> Iterator[ListFetch]:
        for fetch in self.start.fetches:
            if self.played.from_ns <= fetch.read_ns <= self.played.until_ns:
                yield fetch

    def failing(self, within_ns: int) -> list[ListObservation]:
        """Clients that did not get the others' models, or too late."""
        return [a for a in self.played.lists if not self._shows(a) or _took_ns(a) > within_ns]

    def _shows(self, asked: ListObservation) -> bool:
        ok = asked.outcome == "answered" and asked.status == 200
        return ok and self.others <= asked.epochs.keys()


def _took_ns(asked: ListObservation) -> int:
    return asked.end_ns - (asked.sent_ns or asked.started_ns)


def dead_provider(history: History, promises: Promises) -> Finding:
    """The others' models come within ``partial_within_s`` while one provider is dead.

    Doubt: as the module says. Held only if every kind of death was tried on a provider, and no
    round failed.
    """
    assert promises.model_list is not None
    within = int(promises.model_list.partial_within_s * 1e9)
    tried = list(_tried(history))
    if not tried:
        return _nothing_tried(history)
    reasons: list[str] = []
    kept: defaultdict[str, set[str]] = defaultdict(set)
    late: defaultdict[tuple[str, str], list[_Tried]] = defaultdict(list)
    slowest = 0
    for one in tried:
        name = f"{one.dead} {one.how}"
        reason = _unfit(one, within)
        if reason:
            reasons.append(f"{name}: {reason}")
            continue
        failing = one.failing(within)
        slowest = max([slowest, *(_took_ns(asked) for asked in one.played.lists)])
        if not failing:
            kept[one.dead].add(one.how)
        elif len(failing) < len(one.played.lists):
            reasons.append(f"{name}: one client of {len(one.played.lists)} was left without")
        elif one.how == "hang" or any(_took_ns(asked) > within for asked in failing):
            late[one.start.info.name, name].append(one)
        else:
            return _violated(one, [one])
    for (_, name), its in late.items():
        if len(its) >= TIMES:
            return _violated(its[0], its)
        if its[0].how not in kept[its[0].dead]:
            reasons.append(f"{name}: late {len(its)} times, which may be chance")
    numbers = {"slowest_s": round(slowest / 1e9, 3)}
    if any(kinds.issuperset(KINDS) for kinds in kept.values()):
        return results.held(
            f"past a dead provider in {slowest / 1e9:.1f} s",
            numbers,
        )
    return results.inconclusive("; ".join(dict.fromkeys(reasons)) or "not all was tried")


def _tried(history: History) -> Iterator[_Tried]:
    """The rounds with a dead provider, each with who was listed when all were well before it."""
    for start in history.starts:
        shown: frozenset[str] = frozenset()
        for played in start.played("list-dead"):
            dead, _, how = played.round.part.partition(" ")
            if how:
                others = shown - {dead}
                if others:
                    yield _Tried(start=start, played=played, dead=dead, how=how, others=others)
            elif played.lists:
                shown = frozenset(played.lists[-1].epochs)


def _nothing_tried(history: History) -> Finding:
    shown = {
        provider
        for _, played in history.rounds("list-dead")
        for asked in played.lists
        for provider in asked.epochs
    }
    if len(shown) == 1:
        return results.not_applicable(f"its list has the models of {min(shown)} only")
    return results.inconclusive("never exercised: the list never showed two providers")


def _unfit(one: _Tried, within: int) -> str:
    """Why the round tells nothing; empty when it does."""
    if len(one.played.lists) < CLIENTS:
        return "too few clients asked"
    if not one.asked_it:
        return "the dead provider was not asked"
    if one.unwell:
        return f"{one.unwell[0].provider} was to be well, and its fetch was not answered"
    # What is told by the content needs no clock, but a router that was itself held up has one.
    most = min(STALL_NS, within // 10)
    if one.start.worst_stall_ns(one.played.from_ns, one.played.until_ns) > most:
        return "the harness stalled meanwhile"
    return ""


def _violated(one: _Tried, rounds: list[_Tried]) -> Finding:
    others = ", ".join(sorted(one.others))
    what = {
        "down": "answers 503",
        "text": "answers its list with a web page",
        "shape": "answers its list with JSON that is no list",
        "hang": "never answers its list",
    }[one.how]
    times = f"{len(rounds)} times of {len(rounds)}, " if len(rounds) > 1 else ""
    shown = Witness(
        sentence=(
            f"While {one.dead} {what}, the models of {others}, which was well, did not come in "
            f"time: {times}for {len(one.played.lists)} of {len(one.played.lists)} clients."
        ),
        facts=(
            *(witness.where(tried.start, tried.played) for tried in rounds),
            *(witness.fetch_line(one.played, fetch) for fetch in one.asked_it[:2]),
            *(witness.list_line(one.played, asked) for asked in one.played.lists),
        ),
    )
    return results.violated(f"others missing: {one.dead} {one.how}", shown)


def _needs(promises: Promises) -> str:
    if promises.model_list is None:
        return "no cached model list is promised"
    if not promises.model_list.partial:
        return "a list without a dead provider's models is not promised"
    return ""


CHECKS = (
    Check(
        id=_ID,
        timed=True,
        needs=_needs,
        scenarios=("list-dead",),
        judge=dead_provider,
        promised="While one provider is dead the others' models are listed, and in time.",
        proved="One provider answered its list with an error, with nonsense or not at all, and was "
        "seen to be asked; both clients of a round got no list, or one without the models of a "
        "provider that was well and had been listed just before. Lateness counts three times out "
        "of three.",
        doubt="In the router's favour: judged only where partial lists are promised; a round in "
        "which the dead provider was not asked, another one's fetch failed or anything stalled "
        "tells nothing. An old list is sound.",
        bug="One dead upstream empties or blocks the list of all: open-webui/open-webui #11869, "
        "#8146, #15549, decolua/9router PR #3866, langflow-ai/langflow PR #14817.",
        fix="Ask the providers side by side, each with a timeout of its own, and list those that "
        "answered.",
    ),
)
