"""After its cooldown a provider gets one call to prove itself: breaker/half-open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, instances, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import EJECTED_S, TRIES
from routerspec.promises import Promises
from routerspec.records.observations import Snapshot
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Kind, Number, Witness

SCENARIOS = ("breaker-half-open",)
FAILING, TRIAL = "failing", "trial"
"""The parts of the scenario's rounds: one instance fails until it is left alone; after the
cooldown it holds every call that it is given, while the others answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What was let through to an instance that has not answered yet."""

    start: StartHistory
    played: PlayedRound
    instance: str
    failures: tuple[Call, ...]
    left_alone: int
    """Requests for which it was not asked, within its cooldown: its breaker was open."""
    calls: tuple[Call, ...]
    """Held there in two snapshots, their clients waiting."""
    snapshots: tuple[Snapshot, ...]
    elsewhere: int
    """Clients that began after the first of these calls had begun, and are not among them."""
    probed: bool
    """The router had asked it for something else meanwhile: it may know that it is well."""


def _half_open(history: History, promises: Promises) -> Finding:
    found = list(trials(history, promises))
    numbers: dict[str, Number] = {}
    for its in found:
        numbers |= {
            f"{its.instance}_left_alone": its.left_alone,
            f"{its.instance}_let_through": len(its.calls),
        }
    opened = [its for its in found if its.left_alone >= TRIES]
    for its in opened:
        if len(its.calls) > promises.workers and not its.probed:
            return _herd(its, numbers)
    if not opened:
        return _never_open(promises, numbers)
    if any(its.probed and len(its.calls) > promises.workers for its in opened):
        return results.inconclusive(
            "several calls were let through, but the router had asked it by itself before",
            numbers,
        )
    tried = [its for its in opened if its.calls]
    if not tried:
        return results.never_exercised("it was not tried again after its cooldown", numbers)
    if all(its.elsewhere < TRIES for its in tried):
        most = max(its.elsewhere for its in tried)
        return results.too_few(most, "requests came while it was being tried", TRIES, numbers)
    return results.held(f"{max(len(its.calls) for its in tried)} call let through", numbers)


def _never_open(promises: Promises, numbers: dict[str, Number]) -> Finding:
    if promises.balance is None or promises.balance.ejected_within is None:
        return results.not_applicable(
            "no breaker was seen open, and it is not promised when it opens", numbers
        )
    return results.never_exercised("no breaker was seen open", numbers)


def trials(history: History, promises: Promises) -> Iterator[_Trial]:
    """Each instance that had failed, and was tried again after its cooldown."""
    for start in history.starts:
        failing: PlayedRound | None = None
        for played in start.played(*SCENARIOS):
            if played.round.part == FAILING:
                failing = played
            elif played.round.part == TRIAL and failing is not None:
                trial = _trial(history, start, failing, played, promises)
                if trial is not None:
                    yield trial


def _trial(
    history: History,
    start: StartHistory,
    failing: PlayedRound,
    played: PlayedRound,
    promises: Promises,
) -> _Trial | None:
    clients = sorted(failing.observations, key=lambda client: client.started_ns)
    failures = [
        (client, call)
        for client in clients
        for call in start.calls_of.get(client.nonce, ())
        if instances.failed(start, call)
    ]
    if not failures or len({call.provider for _, call in failures}) != 1:
        return None
    last, (name) = failures[-1][0], failures[-1][1].provider
    until_ns = (last.sent_ns or last.started_ns) + int(EJECTED_S * promises.recovery_s * 1e9)
    alone = [c for c in clients if c.started_ns > last.end_ns and c.end_ns <= until_ns]
    shown = _held_at(start, played, name)
    first, second, calls = shown or (None, None, ())
    return _Trial(
        start=start,
        played=played,
        instance=name,
        failures=tuple(call for _, call in failures),
        left_alone=len(alone),
        calls=calls,
        snapshots=(first, second) if first and second else (),
        elsewhere=_elsewhere(start, played, name, calls),
        probed=_was_probed(start, failing, played, name),
    )


def _held_at(
    start: StartHistory, played: PlayedRound, name: str
) -> tuple[Snapshot, Snapshot, tuple[Call, ...]] | None:
    best = None
    for index, first in enumerate(played.snapshots):
        later = (s for s in played.snapshots[index + 1 :] if held_calls.are_apart(first, s))
        for second in islice(later, 1):
            waits = held_calls.waits_at_both(start, first, second)
            through = held_calls.open_through(start, first, second, waits)
            calls = tuple(call for call in through if call.provider == name)
            if best is None or len(calls) > len(best[2]):
                best = first, second, calls
    return best


def _elsewhere(start: StartHistory, played: PlayedRound, name: str, calls: tuple[Call, ...]) -> int:
    if not calls:
        return 0
    tried = {nonce for call in calls for nonce in call.nonces}
    began = min((start.observed[n].sent_ns or 0 for n in tried if n in start.observed), default=0)
    return sum(
        client.started_ns > began and client.nonce not in tried for client in played.observations
    )


def _was_probed(start: StartHistory, failing: PlayedRound, played: PlayedRound, name: str) -> bool:
    """Whether the router asked the instance for a list, or by a call of its own.

    Of the whole start: the clocks of instances are not compared.
    """
    lists = any(f.provider == name and (f.status or 500) < 400 for f in start.fetches)
    return lists or any(call.provider == name for call in start.unattributed)


def _herd(its: _Trial, numbers: dict[str, Number]) -> Finding:
    start, played = its.start, its.played
    provider = base_of(its.instance)
    sentence = (
        f"{its.instance} had failed {len(its.failures)} times and was then left alone; after its "
        f"cooldown {len(its.calls)} calls were sent to it before any of them was answered, each "
        "request sent once the call before was held there."
    )
    facts = (
        witness.where(start, played),
        f"{its.left_alone} requests for {provider} had not been sent to it before",
        *(witness.snapshot_line(played, each) for each in its.snapshots),
        *(witness.call_line(start, played, call) for call in its.calls[:4]),
    )
    summary = f"{len(its.calls)} calls at once to {its.instance} after its cooldown"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _without_breaker(promises: Promises) -> str:
    return "" if promises.recovery_s else "no cooldown is promised (recovery_s)"


HALF_OPEN = Check(
    id="breaker/half-open",
    kind=Kind.SHOULD,
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_half_open,
    exempt=_without_breaker,
    promised="After its cooldown a provider that failed gets one call to prove itself; the others "
    "are let through once that is answered.",
    proved="An instance failed, and was then left alone for three requests or more. After "
    "`recovery_s` it holds what it is given: more calls than the router has processes are held "
    "there, in two snapshots at least 250 ms apart, their clients waiting, each request sent when "
    "the call before was held.",
    doubt="In the router's favour: it only discourages, for a cooldown that simply ends is a "
    "promise kept. A router that asks the provider by itself meanwhile (a list, a call of its own) "
    "may know that it is well: that is inconclusive. Health checks that connect and ask for "
    "nothing are not seen.",
    bug="A provider that comes back is overrun by all that waited, and fails again: "
    "defilantech/LLMKube #453 (no half-open state at all), envoyproxy/envoy #4132.",
    fix="Let one call through when the cooldown is over, and close the breaker when it succeeded.",
)
