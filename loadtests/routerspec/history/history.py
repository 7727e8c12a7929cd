"""The history: what both sides recorded, joined by nonce and put in order. Pure.

Decides what belongs together (rounds with their snapshots and clients, calls with their nonces),
and whether the files of a start can be believed at all. Refuses to know any promise.

The order of files and records does not matter: everything is sorted by its own numbers. Direction
of doubt: whatever makes the two sides hard to join (a truncated file, clocks that cannot be
compared, an account that does not fit its records) is a fault of the harness, reported in
``StartHistory.fault``, and nothing of that start may accuse the router.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fake_providers.records.evidence import (
    Call,
    Footer,
    Header,
    ListFetch,
    Stall,
    TokenCount,
)
from fake_providers.records.transcripts import CallTranscript
from routerspec.history import soundness
from routerspec.history.clocks import Clocks
from routerspec.history.list_requests import ListRequests
from routerspec.promises import Promises
from routerspec.records import index, load_processes
from routerspec.records.columns import Packed, Rows
from routerspec.records.index import CallsOf, Observed
from routerspec.records.observations import (
    ClientTranscript,
    ClockExchange,
    Disturbance,
    EpochMoved,
    ListObservation,
    Observation,
    Record,
    Released,
    Round,
    RoundEnd,
    RouterExit,
    RouterSignal,
    Snapshot,
)
from routerspec.records.providers import PROVIDERS, file_of
from routerspec.records.run import RecordedRun, RecordedStart, RunInfo, StartInfo

Cell = tuple[str, str]
"""(route, mode)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedRound:
    """One round of a scenario with everything that carries its number."""

    round: Round
    snapshots: tuple[Snapshot, ...]
    released: tuple[Released, ...]
    moves: tuple[EpochMoved, ...]
    observations: Rows[Observation]
    lists: tuple[ListObservation, ...]
    transcripts: tuple[ClientTranscript, ...] = ()
    """Requests whose bytes were recorded, in the order in which they ended."""
    signals: tuple[RouterSignal, ...] = ()
    exits: tuple[RouterExit, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    """What was done to replicas of the router and to services, in order."""
    end: RoundEnd | None
    """None: the round was not played to its end."""
    clients_elsewhere: frozenset[int] = frozenset()
    """Load processes whose clock is not that of the round's other times."""

    @property
    def cell(self) -> Cell:
        """The route and mode that the round exercises."""
        return self.round.route, self.round.mode

    @property
    def from_ns(self) -> int:
        """When the round began."""
        return self.round.at_ns

    @property
    def until_ns(self) -> int:
        """When every client of the round was done; without an end, the last thing recorded."""
        if self.end is not None:
            return self.end.at_ns
        stamps = [self.round.at_ns, *(o.end_ns for o in self.observations)]
        stamps += [o.end_ns for o in self.lists] + [
            snapshot.answered_ns for snapshot in self.snapshots
        ]
        return max(stamps)

    def released_ns(self, what: str) -> int | None:
        """When the first release of ``gate`` or ``lists`` was about to be requested."""
        return min((r.at_ns for r in self.released if r.what == what), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartHistory:
    """One start of the router, both sides joined."""

    info: StartInfo
    scenarios: frozenset[str]
    """The scenarios of this start that count (an attempt can be replaced by a later one)."""
    fault: str
    """Why nothing of this start can be believed: ours or the machine's. Mostly empty."""
    cut_short: str
    """Why not all of the start was seen: it did not go to its end, where that was not our fault, or
    records of clients were lost. Mostly empty."""
    lost: str = ""
    """Which records of clients cannot be read. Mostly empty, and then in ``cut_short`` as well."""
    note: str = ""
    """What whoever reads the verdict should know of the start, though it changed no result."""
    rounds: tuple[PlayedRound, ...]
    calls: Rows[Call]
    """Calls with a nonce of this start, in the order of their reading. No other may accuse."""
    unattributed: Rows[Call]
    """Calls without a nonce: a router's own probes, retries that lost their body."""
    fetches: tuple[ListFetch, ...]
    stalls: tuple[Stall, ...]
    """Self-reported stalls of both sides."""
    calls_of: CallsOf
    """Nonce -> its calls, in the order of their reading."""
    call_at: Mapping[tuple[str, int], Call]
    """(provider, number) -> the call."""
    observed: Observed
    """Nonce -> the observation of its client."""
    lists: ListRequests
    """The list requests of all rounds, round by round."""
    transcript_of: Mapping[int, ClientTranscript]
    """Nonce -> the bytes of its client's request and response, where they were recorded."""
    call_transcripts: Mapping[tuple[str, int], CallTranscript]
    """(provider, number) -> the bytes of that call, where they were recorded; also of calls without
    a nonce of this start."""
    clocks: Clocks
    """All of them, and what is known of how far they are from each other."""
    own_clocks: frozenset[str] = frozenset()
    """Instances whose clock is not that of the load process that leads: without a bound their times
    are compared with no others."""
    clients_elsewhere: frozenset[int] = frozenset()
    """Load processes whose clock is not that of the one that leads: without a bound their times are
    compared with no others."""
    token_counts: tuple[TokenCount, ...] = ()
    """Requests that counted tokens at a provider, in the order of their reading."""

    @property
    def foreign_clocks(self) -> tuple[str, ...]:
        """Whose times cannot be compared with any others, in words; mostly empty."""
        further = [name for name in self.own_clocks if name not in PROVIDERS]
        return (
            *(["the first process of fakes"] if len(further) < len(self.own_clocks) else []),
            *sorted(further),
            *map(load_processes.name_of, sorted(self.clients_elsewhere)),
        )

    def is_elsewhere(self, nonce: int) -> bool:
        """The client of this nonce has a clock of its own."""
        return load_processes.process_of(nonce) in self.clients_elsewhere

    def clock_of(self, call: Call) -> str:
        """Which clock the times of this call are of."""
        return self.clocks.of_instances.get(file_of(call.provider), "")

    def calls_in_order(self, nonce: int) -> tuple[Call, ...] | None:
        """The calls of this client in the order of their reading; None: it cannot be told.

        Of several clocks it can where each call was over before the next one was read, whatever
        the clocks allow.
        """
        calls = self.calls_of.get(nonce, ())
        clocks = {self.clock_of(call) for call in calls}
        if len(clocks) < 2:
            return calls
        by = self.clock_of(calls[0])
        spans = []
        for call in calls:
            times = np.array([call.read_ns, call.outer_end_ns])
            bounds = self.clocks.bounds(times, self.clock_of(call), by)
            if bounds is None:
                return None
            spans.append((bounds[0][0].item(), bounds[1][1].item(), call))
        spans.sort(key=lambda span: span[:2])
        apart = all(over < read for (_, over, _), (read, _, _) in itertools.pairwise(spans))
        return tuple(call for _, _, call in spans) if apart else None

    def ended_first(self, call: Call, client: Observation) -> bool:
        """The call's last byte was sent before the client's end, whatever their clocks allow."""
        if not self.foreign_clocks:
            return call.outer_end_ns < client.end_ns
        of = self.clocks.of_processes.get(load_processes.process_of(client.nonce), "")
        times = np.array([client.end_ns])
        bounds = self.clocks.bounds(times, of, self.clock_of(call))
        return bounds is not None and call.outer_end_ns < bounds[0].item()

    @property
    def router_died(self) -> bool:
        """The router ended by itself, or failed, while it was needed."""
        return self.info.router_exit is not None or any(
            incident.whose == "router" for incident in self.info.incidents
        )

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """Those of all rounds."""
        return tuple(each for played in self.rounds for each in played.disturbances)

    def played(self, *scenarios: str) -> tuple[PlayedRound, ...]:
        """The rounds of these scenarios that count, in the order of play."""
        wanted = self.scenarios.intersection(scenarios)
        return tuple(played for played in self.rounds if played.round.scenario in wanted)

    def calls_for(self, clients: Iterable[Observation]) -> Iterator[Call]:
        """The calls that were made for these clients, client by client."""
        for client in clients:
            yield from self.calls_of.get(client.nonce, ())

    def incidents(self, scenario: str) -> str:
        """Why this scenario of this start is a harness error; empty when it is none."""
        if self.fault:
            return self.fault
        for played in self.played(scenario):
            if played.end is not None and played.end.incident:
                return f"round {played.round.round} ({scenario}): {played.end.incident}"
        return ""

    def without(self, scenarios: Iterable[str]) -> StartHistory:
        """The same start, where these scenarios do not count."""
        return dataclasses.replace(self, scenarios=self.scenarios.difference(scenarios))

    def is_quiet(self, from_ns: int, until_ns: int, deadline_ns: float) -> bool:
        """Neither side reported a stall of a tenth of ``deadline_ns`` in the time between."""
        return 10 * self.worst_stall_ns(from_ns, until_ns) < deadline_ns

    def worst_stall_ns(self, from_ns: int, until_ns: int) -> int:
        """The worst self-reported stall of either side in the time between; 0 for none."""
        return max(
            (
                stall.stalled_ns
                for stall in self.stalls
                if stall.at_ns >= from_ns and stall.at_ns - stall.stalled_ns <= until_ns
            ),
            default=0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All starts of a run."""

    info: RunInfo
    cells: tuple[Cell, ...]
    """The routes and modes that are expected to work."""
    starts: tuple[StartHistory, ...]

    @property
    def promises(self) -> Promises:
        """Everything that the target promises."""
        return self.info.promises

    def rounds(self, *scenarios: str) -> Iterator[tuple[StartHistory, PlayedRound]]:
        """Every round of these scenarios, with its start, in the order of play."""
        for start in self.starts:
            for played in start.played(*scenarios):
                yield start, played


def build(recorded: RecordedRun) -> History:
    """Join and order what a run recorded."""
    starts = sorted(
        (_start(start) for start in recorded.starts),
        key=lambda start: (start.info.attempt, start.info.name),
    )
    cells = tuple((route.name, mode) for route in recorded.info.routes for mode in route.modes)
    return History(info=recorded.info, cells=cells, starts=tuple(starts))


def first_attempt(history: History) -> History:
    """The history without the second attempts."""
    starts = tuple(start for start in history.starts if start.info.attempt <= 1)
    return dataclasses.replace(history, starts=starts)


def second_attempt(history: History, scenarios: Iterable[str]) -> History | None:
    """The history in which these scenarios count as they were played last; None: only once.

    A scenario is replaced only by the same scenario under the same settings.
    """
    again = [
        (scenario, start.info.settings)
        for start in history.starts
        if start.info.attempt > 1
        for scenario in start.scenarios.intersection(scenarios)
    ]
    if not again:
        return None
    starts = []
    for start in history.starts:
        if start.info.attempt <= 1:
            replaced = [name for name, settings in again if settings == start.info.settings]
            starts.append(start.without(replaced))
        else:
            starts.append(start)
    return dataclasses.replace(history, starts=tuple(starts))


def _start(recorded: RecordedStart) -> StartHistory:
    info = recorded.info
    files = {
        name: Packed.of(its.records, info.token) for name, its in recorded.evidence_files.items()
    }
    evidence = _joined(files.values(), info.token)
    clients = {
        number: Packed.of(its.records, info.token)
        for number, its in recorded.observation_files.items()
    }
    observations = _joined(clients.values(), info.token)
    clocks = soundness.clocks_of(recorded, clients)
    calls = index.in_order(evidence.calls, info.token)
    fetches = (r for r in evidence.others if isinstance(r, ListFetch))
    counts = (r for r in evidence.others if isinstance(r, TokenCount))
    stalls = (r for r in (*evidence.others, *observations.others) if isinstance(r, Stall))
    scenarios = {r.scenario for r in observations.others if isinstance(r, Round)}
    elsewhere = soundness.clients_elsewhere(recorded)
    observed = Observed(observations.clients)
    rounds = _rounds(observations, observed, elsewhere)
    return StartHistory(
        info=info,
        scenarios=frozenset(info.scenarios) | scenarios,
        fault=soundness.of_start(
            recorded, files, clients, observations, observed=observed, clocks=clocks
        ),
        cut_short=soundness.cut_short(info) or soundness.lost(recorded),
        lost=soundness.lost(recorded),
        note=soundness.refused_control(recorded, evidence),
        clocks=clocks,
        own_clocks=soundness.own_clocks(recorded),
        clients_elsewhere=elsewhere,
        rounds=rounds,
        calls=calls,
        unattributed=index.without_nonce(evidence.calls),
        fetches=tuple(sorted(fetches, key=lambda f: (f.read_ns, f.provider, f.fetch))),
        stalls=tuple(sorted(stalls, key=lambda s: (s.at_ns, s.stalled_ns))),
        calls_of=index.CallsOf(calls),
        call_at=index.CallAt(calls),
        observed=observed,
        lists=ListRequests(request for played in rounds for request in played.lists),
        transcript_of={t.nonce: t for played in rounds for t in played.transcripts if t.nonce},
        call_transcripts={
            (r.provider, r.call): r for r in evidence.others if isinstance(r, CallTranscript)
        },
        token_counts=tuple(sorted(counts, key=lambda c: (c.read_ns, c.provider, c.count))),
    )


def _joined(files: Collection[Packed], token: str) -> Packed:
    """The records of several files as those of one."""
    if len(files) == 1:
        return next(iter(files))
    joined = Packed(token)
    for each in files:
        joined.extend(each)
    return joined


def _rounds(
    observations: Packed, observed: Observed, elsewhere: frozenset[int]
) -> tuple[PlayedRound, ...]:
    begun: dict[int, Round] = {}
    ended: dict[int, RoundEnd] = {}
    parts: defaultdict[int, defaultdict[type, list[Record]]]
    parts = defaultdict(lambda: defaultdict(list))
    for record in observations.others:
        if isinstance(record, Round):
            begun[record.round] = record
        elif isinstance(record, RoundEnd):
            ended[record.round] = record
        elif not isinstance(record, Header | Footer | Stall | ClockExchange):
            parts[record.round][type(record)].append(record)
    clients = observed.rounds
    none = Rows(observations.clients, np.empty(0, np.intp))
    played = (
        _round(begun[number], parts[number], clients.get(number, none), ended.get(number))
        for number in sorted(begun)
    )
    if elsewhere:
        return tuple(dataclasses.replace(each, clients_elsewhere=elsewhere) for each in played)
    return tuple(played)


def _round(
    begun: Round,
    parts: Mapping[type, list[Record]],
    clients: Rows[Observation],
    end: RoundEnd | None,
) -> PlayedRound:
    snapshots = [r for r in parts.get(Snapshot, ()) if isinstance(r, Snapshot)]
    released = [r for r in parts.get(Released, ()) if isinstance(r, Released)]
    moves = [r for r in parts.get(EpochMoved, ()) if isinstance(r, EpochMoved)]
    lists = [r for r in parts.get(ListObservation, ()) if isinstance(r, ListObservation)]
    return PlayedRound(
        round=begun,
        snapshots=tuple(
            sorted(snapshots, key=lambda snapshot: (snapshot.asked_ns, snapshot.at_ns))
        ),
        released=tuple(sorted(released, key=lambda r: (r.at_ns, r.what))),
        moves=tuple(sorted(moves, key=lambda move: move.before_ns)),
        observations=clients,
        lists=tuple(sorted(lists, key=lambda o: (o.started_ns, o.request))),
        transcripts=tuple(
            r for r in parts.get(ClientTranscript, ()) if isinstance(r, ClientTranscript)
        ),
        signals=tuple(r for r in parts.get(RouterSignal, ()) if isinstance(r, RouterSignal)),
        exits=tuple(r for r in parts.get(RouterExit, ()) if isinstance(r, RouterExit)),
        disturbances=tuple(
            sorted(
                (r for r in parts.get(Disturbance, ()) if isinstance(r, Disturbance)),
                key=lambda disturbance: disturbance.before_ns,
            )
        ),
        end=end,
    )
