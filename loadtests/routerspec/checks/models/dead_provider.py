"""The healthy providers' models while another is dead: models/dead-provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import TRIES
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Witness

CLIENTS = 2
STALL_NS = 100_000_000
KINDS = ("down", "text", "shape", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """One round with a dead provider."""

    start: StartHistory
    played: PlayedRound
    dead: str
    how: str
    others: frozenset[str]
    """The other providers that were in the list when all were healthy."""

    @property
    def dead_fetches(self) -> list[ListFetch]:
        """Fetches from the dead provider in the round."""
        its = fetches.arrived_in(self.start, self.played)
        return [fetch for fetch in its if base_of(fetch.provider) == self.dead]

    @property
    def unwell(self) -> list[ListFetch]:
        """Fetches from the others that were not answered with a list."""
        its = fetches.arrived_in(self.start, self.played)
        return [f for f in its if base_of(f.provider) in self.others and not fetches.stored(f)]

    def failing(self, within_ns: int) -> list[ListObservation]:
        """Clients that received the others' models too late or not at all."""
        return [a for a in self.played.lists if not self._shows(a) or _took_ns(a) > within_ns]

    def _shows(self, request: ListObservation) -> bool:
        return fetches.answered(request) and self.others <= request.epochs.keys()


def _took_ns(request: ListObservation) -> int:
    return request.end_ns - (request.sent_ns or request.started_ns)


def _dead_provider(history: History, promised: ModelList) -> Finding:
    within = int(promised.partial_within_s * 1e9)
    tried = list(_tried(history))
    if not tried:
        return _nothing_tried(history)
    reasons: list[str] = []
    partly: list[str] = []
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
        slowest = max([slowest, *(_took_ns(request) for request in one.played.lists)])
        if not failing:
            kept[one.dead].add(one.how)
        elif len(failing) < len(one.played.lists):
            partly.append(f"{name}: {len(failing)} of {len(one.played.lists)} clients went without")
        elif one.how == "hang" or any(_took_ns(request) > within for request in failing):
            late[one.start.info.name, name].append(one)
        else:
            return _violated(one, [one])
    for (_, name), its in late.items():
        if len(its) >= TRIES:
            return _violated(its[0], its)
        if its[0].how not in kept[its[0].dead]:
            reasons.append(f"{name}: late {len(its)} times, {TRIES} of {TRIES} would prove it")
    numbers = {"slowest_s": round(slowest / 1e9, 3)}
    reasons = [*partly, *reasons]
    if not partly and any(kinds.issuperset(KINDS) for kinds in kept.values()):
        return results.held(f"despite a dead provider in {slowest / 1e9:.1f} s", numbers)
    return results.inconclusive(
        "; ".join(dict.fromkeys(reasons)) or "not every way to die was tried"
    )


def _tried(history: History) -> Iterator[_Tried]:
    """The rounds with a dead provider, each with the providers listed while all were healthy."""
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
        for request in played.lists
        for provider in request.epochs
    }
    if len(shown) == 1:
        return results.not_applicable(f"its list has the models of {min(shown)} only")
    return results.never_exercised("the list never showed two providers")


def _unfit(one: _Tried, within: int) -> str:
    """Why the round proves nothing; empty when it does."""
    if len(one.played.lists) < CLIENTS:
        return "too few clients requested the list"
    if one.start.router_died and any(each.outcome == "failed" for each in one.played.lists):
        return "the router exited during this start"
    if not one.dead_fetches:
        return "nothing was fetched from the dead provider"
    if one.unwell:
        return f"a fetch from {one.unwell[0].provider}, meant to be healthy, was not answered"
    # What the content shows needs no clock, but a router that was itself held up has one.
    most = min(STALL_NS, within // 10)
    if one.start.worst_stall_ns(one.played.from_ns, one.played.until_ns) > most:
        return "the harness stalled meanwhile"
    return ""


def _violated(one: _Tried, rounds: list[_Tried]) -> Finding:
    others = ", ".join(sorted(one.others))
    what = {
        "down": "answers 503",
        "text": "answers with an HTML page for its list",
        "shape": "answers with JSON that is no list",
        "hang": "never answers the request for its list",
    }[one.how]
    times = f"{len(rounds)} times of {len(rounds)}, " if len(rounds) > 1 else ""
    shown = Witness(
        sentence=(
            f"While {one.dead} {what}, the models of the healthy {others} were not listed in "
            f"time: {times}for {len(one.played.lists)} of {len(one.played.lists)} clients."
        ),
        facts=(
            *(witness.where(tried.start, tried.played) for tried in rounds),
            *(witness.fetch_line(one.played, fetch) for fetch in one.dead_fetches[:2]),
            *(witness.list_line(one.played, request) for request in one.played.lists),
        ),
    )
    return results.violated(f"others missing: {one.dead} {one.how}", shown)


def _not_partial(promises: Promises) -> str:
    lists = promises.model_list
    if lists is not None and lists.partial:
        return ""
    return "a list without a dead provider's models is not promised"


DEAD_PROVIDER = Check(
    id="models/dead-provider",
    promise=ModelList,
    exempt=_not_partial,
    scenarios=("list-dead",),
    judge=_dead_provider,
    timed=True,
    promised="While one provider is dead the others' models are listed, within "
    "`model_list.partial_within_s`.",
    proved="One provider answered the request for its list with an error, with nonsense or not at "
    "all; both clients of a round received no list, or one without the models of a healthy "
    "provider that had been listed just before. Lateness counts three times out of three.",
    doubt="In the router's favour: judged only where partial lists are promised. A round proves "
    "nothing if nothing was fetched from the dead provider, a fetch from a healthy one failed, or "
    "anything stalled for a tenth of the time. A stale list is sound. Inconclusive unless every "
    "way to die was tried, or where only one client of a round went without; not applicable where "
    "the list has one provider's models only.",
    bug="One dead upstream empties or blocks the list of all: open-webui/open-webui #11869, "
    "#8146, #15549, decolua/9router PR #3866, langflow-ai/langflow PR #14817.",
    fix="Request the providers' lists concurrently, each with its own timeout, and list those that "
    "answered.",
)
