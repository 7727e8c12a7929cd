"""How often a run came to each state that its checks need: the ``exercised`` table. Pure.

A count accuses nobody and excuses nobody: it tells whoever reads a verdict what it rests on. Each
state stands here with the checks that need it; it is left out where none of them applies.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from routerspec.checks import both_sides, held_calls, instances, retried
from routerspec.checks.balance import affinity, choices, dead, spread
from routerspec.checks.balance import cap as balance_cap
from routerspec.checks.breaker import client_errors, half_open
from routerspec.checks.failover import returns, served
from routerspec.checks.failover.tried import failing_in, serving, tried
from routerspec.checks.limits import admitted as limits_admitted
from routerspec.checks.limits import refused_is_free
from routerspec.checks.models import fetches, leader_hang_up
from routerspec.checks.overload import saturation
from routerspec.checks.replicas import cluster
from routerspec.checks.wire import http, keep_alive
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import AFTER_FAULT, COUNTED_BESIDE, LIMITED_BY
from routerspec.records.columns import MISSING, Column, Flags, Numbers, Rows
from routerspec.records.index import NOBODY
from routerspec.records.observations import Observation, Snapshot
from routerspec.records.providers import base_of
from routerspec.records.storage import pieces
from routerspec.verdict import CheckResult, Exercised, Outcome

HANDOVER_NS = 1_000_000
"""A client that disconnects so soon before or after another's call ended is in its hand-over."""
CROWD = 10
"""List requests that make a crowd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A state that checks need, and how it is counted in one start."""

    name: str
    checks: tuple[str, ...]
    """Patterns of the ids of the checks that need it."""
    count: Callable[[History, StartHistory], int]


def table(history: History, checks: Iterable[CheckResult]) -> tuple[Exercised, ...]:
    """A row for every state that any check which applies needs, whether it was seen or not."""
    applied = [check.id for check in checks if check.outcome is not Outcome.NOT_APPLICABLE]
    rows: list[Exercised] = []
    for state in _STATES:
        ids = [id_ for id_ in applied if any(fnmatch.fnmatchcase(id_, p) for p in state.checks)]
        if ids:
            count = sum(state.count(history, start) for start in history.starts)
            rows.append(Exercised(state=state.name, count=count, checks=tuple(ids)))
    return tuple(rows)


# -- slots --------------------------------------------------------------------------------------


def _full_and_waiting(history: History, start: StartHistory) -> int:
    return sum(
        _is_full(history, start, snapshot) and _waits(snapshot)
        for played in start.rounds
        for snapshot in played.snapshots
    )


def _is_full(history: History, start: StartHistory, snapshot: Snapshot) -> bool:
    cap, limit = history.promises.cap, start.info.settings.cap
    if cap is None or limit is None:
        return False
    return held_calls.most_at(start, snapshot, cap) >= limit


def _waits(snapshot: Snapshot) -> bool:
    inside = {nonce for held in snapshot.held for nonce in held.nonces}
    return any(nonce not in inside for nonce in snapshot.waiting)


def _refused(history: History, start: StartHistory) -> int:
    cap = history.promises.cap
    if cap is None:
        return 0
    only = saturation.saturated_rounds(_only(history, start), cap)
    return sum(len(its.refused) for its in only)


# -- limits --------------------------------------------------------------------------------------


def _limited(history: History, start: StartHistory) -> int:
    return sum(
        request.limited
        for scenario in LIMITED_BY
        for scope in limits_admitted.scopes(_only(history, start), scenario)
        for request in scope.refused
    )


def _admitted_again(history: History, start: StartHistory) -> int:
    scopes = limits_admitted.scopes(_only(history, start), "limits")
    return sum(refused_is_free.after_refusals(each) for scope in scopes for each in scope.rounds())


def _only(history: History, start: StartHistory) -> History:
    return History(info=history.info, cells=history.cells, starts=(start,))


# -- disconnects --------------------------------------------------------------------------------


def _clients_with(start: StartHistory, stamp: str) -> Rows[Observation]:
    """The clients that have this stamp."""
    columns, rows = start.observed.clients, Column(np.intp)
    for part in pieces(len(columns)):
        rows.extend(np.flatnonzero(columns.numbers(stamp, part) != MISSING) + part.start)
    return Rows(columns, rows.array)


def _disconnects(start: StartHistory) -> tuple[Rows[Observation], Numbers, Numbers]:
    """The clients that disconnected, when they did, and when the first call of each was read."""
    left = _clients_with(start, "hang_up_ns")
    return left, left.numbers("hang_up_ns"), _read_ns(start, left)


def _read_ns(start: StartHistory, clients: Rows[Observation]) -> Numbers:
    """When a provider had read the first call of each; ``MISSING`` where none did."""
    rows = start.calls_of.first(clients.numbers("nonce"))
    read: Numbers = np.full(len(rows), MISSING, np.int64)
    seen = rows != NOBODY
    read[seen] = Rows(start.calls.columns, rows[seen]).numbers("read_ns")
    return read


def _left_queued(_history: History, start: StartHistory) -> int:
    left, when, read = _disconnects(start)
    sent = left.numbers("sent_ns") != MISSING
    return int((sent & ((read == MISSING) | (read > when))).sum())


def _left_before_head(_history: History, start: StartHistory) -> int:
    left, when, read = _disconnects(start)
    waits: Flags = (read != MISSING) & (read <= when) & (left.numbers("head_ns") == MISSING)
    return int(waits.sum())


def _left_mid_stream(_history: History, start: StartHistory) -> int:
    left, _, _ = _disconnects(start)
    return int((left.numbers("pieces") > 0).sum())


def _left_at_handover(_history: History, start: StartHistory) -> int:
    """Others' calls that ended within a millisecond of a disconnect, while a client waited."""
    _, when, _ = _disconnects(start)
    if not len(when):
        return 0
    others = Column(np.int64)
    for _, calls in start.calls.pieces():
        others.extend(calls.numbers("outer_end_ns")[~calls.are("ended_by", "peer")])
    ends = others.sort()
    if not len(ends):
        return 0
    at = np.searchsorted(ends, when - HANDOVER_NS)
    near = ends[np.minimum(at, len(ends) - 1)]
    close = (at < len(ends)) & (near <= when + HANDOVER_NS)
    sent, until = Column(np.int64), Column(np.int64)
    for _, clients in _clients_with(start, "sent_ns").pieces():
        read = _read_ns(start, clients)
        sent.extend(clients.numbers("sent_ns"))
        until.extend(np.where(read == MISSING, clients.numbers("end_ns"), read))
    waiting = np.searchsorted(sent.sort(), near, "right") > np.searchsorted(
        until.sort(), near, "left"
    )
    return int((close & waiting).sum())


# -- failures -----------------------------------------------------------------------------------


def _errors(_history: History, start: StartHistory) -> int:
    return _total(calls.numbers("status") >= 400 for _, calls in start.calls.pieces())


def _cut(_history: History, start: StartHistory) -> int:
    return _total(
        calls.are("ended_by", "cut") & (calls.numbers("pieces") > 0)
        for _, calls in start.calls.pieces()
    )


def _retried(_history: History, start: StartHistory) -> int:
    again = _total(calls.numbers("attempt") > 1 for _, calls in start.calls.pieces())
    return again + len(retried.empty_calls(start))


def _total(which: Iterable[Flags]) -> int:
    return sum(int(some.sum()) for some in which)


def _with_bytes(_history: History, start: StartHistory) -> int:
    return sum(
        any((c.provider, c.call) in start.call_transcripts for c in start.calls_of.get(nonce, ()))
        for nonce in start.transcript_of
    )


def _failed_elsewhere(history: History, start: StartHistory) -> int:
    """Calls that failed at an instance in a round in which others were well."""
    only = dataclasses.replace(history, starts=(start,))
    return sum(len(its.failed) for its in tried(only, *served.SCENARIOS))


def _returned(_history: History, start: StartHistory) -> int:
    return sum(
        failing_in(played) in serving(start, played)
        for played in start.played(*returns.SCENARIOS)
        if played.round.part.startswith(AFTER_FAULT)
    )


# -- answers on the wire ------------------------------------------------------------------------


def _recorded(_history: History, start: StartHistory) -> int:
    return sum(len(played.transcripts) for played in start.played("wire-answers"))


def _tool_calls(history: History, start: StartHistory) -> int:
    only = dataclasses.replace(history, starts=(start,))
    pairs = both_sides.pairs(only, "wire-answers", "hold-arguments")
    return sum(len(pair.sent.calls) for pair in pairs if pair.sent is not None)


def _failed_streams(_history: History, start: StartHistory) -> int:
    return sum(
        not call.finished
        for played in start.played("wire-failures")
        for asked in played.transcripts
        for call in start.calls_of.get(asked.nonce, ())
    )


# -- the model list -----------------------------------------------------------------------------


def _crowds(*scenarios: str) -> Callable[[History, StartHistory], int]:
    def count(_history: History, start: StartHistory) -> int:
        return sum(
            fetches.sent_before_answer(played, fetch) >= CROWD
            for played in start.played(*scenarios)
            for fetch in fetches.arrived_in(start, played)
        )

    return count


def _followers(_history: History, start: StartHistory) -> int:
    return sum(leader_hang_up.followers(start, played) > 0 for played in start.played("list-left"))


def _lists_beside(history: History, start: StartHistory) -> int:
    return sum(
        _is_beside(history, start, played, request.started_ns, request.sent_ns)
        for played in start.played("list-behind-cap")
        for request in played.lists
    )


def _counts_beside(history: History, start: StartHistory) -> int:
    return sum(
        count.sent_ns is not None
        and _is_beside(history, start, played, count.sent_ns, count.sent_ns)
        for played in start.played("count-tokens")
        for count in played.transcripts
        if count.part == COUNTED_BESIDE
    )


def _is_beside(
    history: History, start: StartHistory, played: PlayedRound, from_ns: int, sent_ns: int | None
) -> bool:
    full = [s for s in played.snapshots if _is_full(history, start, s)]
    return (
        sent_ns is not None
        and any(snapshot.answered_ns <= from_ns for snapshot in full)
        and any(snapshot.asked_ns >= sent_ns for snapshot in full)
    )


def _dead(_history: History, start: StartHistory) -> int:
    return sum(
        bool(how) and any(base_of(f.provider) == dead for f in fetches.arrived_in(start, played))
        for played in start.played("list-dead")
        for dead, _, how in [played.round.part.partition(" ")]
    )


def _failing(_history: History, start: StartHistory) -> int:
    return sum((fetch.status or 0) >= 400 for fetch in start.fetches)


# -- the wire -----------------------------------------------------------------------------------


def _forms(_history: History, start: StartHistory) -> int:
    transcripts = (t for played in start.played("wire-http") for t in played.transcripts)
    return sum(t.part != http.PLAIN and t.response is not None for t in transcripts)


def _next_requests(_history: History, start: StartHistory) -> int:
    transcripts = (t for played in start.played("wire-keep-alive") for t in played.transcripts)
    return sum(t.part.startswith(keep_alive.NEXT) for t in transcripts)


def _after_idle(_history: History, start: StartHistory) -> int:
    return sum(
        len(played.transcripts)
        for played in start.played("wire-keep-alive")
        if played.round.part == keep_alive.IDLE
    )


def _slow_streams(_history: History, start: StartHistory) -> int:
    timeout_ns = start.info.settings.timeout_s * 1e9
    clients = (c for played in start.played("idle-timeout") for c in played.observations)
    return sum(client.end_ns - client.started_ns > timeout_ns for client in clients)


# -- replicas -------------------------------------------------------------------------------


def _spread_over_replicas(_history: History, start: StartHistory) -> int:
    if start.info.settings.replicas < 2:
        return 0
    snapshots = (snapshot for played in start.rounds for snapshot in played.snapshots)
    return sum(
        len({cluster.replica_of(start, call) for call in cluster.held_at(start, each)}) > 1
        for each in snapshots
    )


def _disturbed(history: History, start: StartHistory) -> int:
    cap, only = history.promises.cap, _only(history, start)
    if cap is None:
        return 0
    return sum(
        its.hit
        for scenario, what in cluster.DISTURBED.items()
        for its in cluster.faults(only, cap, scenario, what)
    )


# -- instances --------------------------------------------------------------------------------


def _choices(_history: History, start: StartHistory) -> int:
    rounds = start.played(spread.COUNTED, choices.SCENARIO)
    return sum(sum(1 for _ in instances.requests(start, played)) for played in rounds)


def _left_alone(history: History, start: StartHistory) -> int:
    balance = history.promises.balance
    if balance is None:
        return 0
    ejected = dead.all_ejected(_only(history, start), balance)
    return sum(len(its.later) for its in ejected)


def _in_sessions(_history: History, start: StartHistory) -> int:
    counts = (
        sum(1 for _ in instances.requests(start, played))
        for played in start.played(*affinity.SCENARIOS)
    )
    return sum(max(0, count - 1) for count in counts)


def _instances_full(history: History, start: StartHistory) -> int:
    balance = history.promises.balance
    limit = balance.instance_cap if balance else None
    return sum(
        _waits(snapshot) and limit in Counter(held.provider for held in snapshot.held).values()
        for played in start.played(*balance_cap.SCENARIOS)
        for snapshot in played.snapshots
    )


def _clients_doings(history: History, start: StartHistory) -> int:
    only = _only(history, start)
    return sum(len(its.caused) for its in client_errors.all_tried(only, history.promises))


def _tried_again(history: History, start: StartHistory) -> int:
    only = _only(history, start)
    return sum(its.elsewhere for its in half_open.trials(only, history.promises))


# -- stops --------------------------------------------------------------------------------------


def _in_flight_at(what: str) -> Callable[[History, StartHistory], int]:
    """Requests that a provider had when the router was sent this signal."""

    def count(_history: History, start: StartHistory) -> int:
        return sum(
            any(call.read_ns < signal.before_ns < client.end_ns for call in calls)
            for played in start.rounds
            for signal in played.signals
            if signal.what == what
            for client in played.observations
            if (calls := start.calls_of.get(client.nonce, ()))
        )

    return count


def _silences(_history: History, start: StartHistory) -> int:
    clients = (
        client
        for played in start.played("silent-stream", "stalled-provider")
        if played.round.part in {"", "stall"}
        for client in played.observations
    )
    return sum(
        any(call.held_ns is not None for call in start.calls_of.get(client.nonce, ()))
        for client in clients
    )


_STATES = (
    _State(
        name="snapshots with all slots occupied and another client waiting",
        checks=("cap/*", "slots/*", "overload/*"),
        count=_full_and_waiting,
    ),
    _State(
        name="clients refused while all slots were occupied",
        checks=("overload/*",),
        count=_refused,
    ),
    _State(
        name="requests for which several instances could be chosen",
        checks=("balance/spread",),
        count=_choices,
    ),
    _State(
        name="requests while a dead instance was to be left alone",
        checks=("balance/dead",),
        count=_left_alone,
    ),
    _State(
        name="further requests of a session",
        checks=("balance/affinity",),
        count=_in_sessions,
    ),
    _State(
        name="snapshots with an instance at its cap and a client waiting",
        checks=("balance/cap",),
        count=_instances_full,
    ),
    _State(
        name="errors that were clients' fault, and disconnects, at one instance",
        checks=("breaker/client-errors",),
        count=_clients_doings,
    ),
    _State(
        name="requests while an instance was tried again",
        checks=("breaker/half-open",),
        count=_tried_again,
    ),
    _State(
        name="requests refused at a limit of requests or tokens",
        checks=("limits/*",),
        count=_limited,
    ),
    _State(
        name="requests admitted after three were refused at a limit",
        checks=("limits/window", "limits/refused-is-free", "limits/retry-after"),
        count=_admitted_again,
    ),
    _State(
        name="clients disconnected before a provider had their request",
        checks=("cancel/*", "cap/hang-ups", "slots/return-after-hang-up-queued"),
        count=_left_queued,
    ),
    _State(
        name="clients disconnected after that, before their head",
        checks=("cancel/*", "cap/hang-ups", "slots/return-after-hang-up-*"),
        count=_left_before_head,
    ),
    _State(
        name="clients disconnected between pieces",
        checks=("cancel/*", "cap/hang-ups", "slots/return-after-hang-up-mid-stream"),
        count=_left_mid_stream,
    ),
    _State(
        name="clients disconnected within 1 ms of the hand-over of a slot",
        checks=("cancel/*", "cap/hang-ups", "cap/under-load", "slots/handover"),
        count=_left_at_handover,
    ),
    _State(
        name="calls that a provider answered with an error",
        checks=(
            "answers/error-*",
            "answers/attempts",
            "cap/after-failures",
            "cap/under-load",
            "errors/*",
        ),
        count=_errors,
    ),
    _State(
        name="streams that a provider cut off after a piece",
        checks=(
            "answers/cut-*",
            "answers/no-replay",
            "cap/under-load",
            "failover/one-answer",
            "slots/return-after-cut",
        ),
        count=_cut,
    ),
    _State(
        name="calls made again after a failure",
        checks=("answers/attempts", "answers/no-replay", "cap/attempts"),
        count=_retried,
    ),
    _State(
        name="calls that failed at an instance while others were well",
        checks=("failover/served", "failover/asked", "failover/model"),
        count=_failed_elsewhere,
    ),
    _State(
        name="instances asked again after they had failed for a while",
        checks=("failover/returns",),
        count=_returned,
    ),
    _State(
        name="answers whose bytes were recorded on both sides",
        checks=("wire/*", "tools/*", "usage/*"),
        count=_recorded,
    ),
    _State(
        name="tool calls that a provider made",
        checks=("tools/*", "wire/first-delta"),
        count=_tool_calls,
    ),
    _State(
        name="streams that a provider failed, their bytes recorded",
        checks=("wire/failure-visible", "wire/ending"),
        count=_failed_streams,
    ),
    _State(
        name="requests whose bytes their client and a provider recorded",
        checks=("request/*", "cache/*", "errors/retry-after"),
        count=_with_bytes,
    ),
    _State(
        name=f"fetches of a list that was never cached, {CROWD} or more clients waiting",
        checks=("models/one-fetch-cold", "models/one-fetch-uncapped"),
        count=_crowds("list-cold"),
    ),
    _State(
        name=f"fetches of a list that had expired, {CROWD} or more clients waiting",
        checks=("models/one-fetch-on-expiry",),
        count=_crowds("list-expiry"),
    ),
    _State(
        name="fetches whose client disconnected with others waiting",
        checks=("models/leader-hang-up",),
        count=_followers,
    ),
    _State(
        name="list requests while all slots were occupied",
        checks=("models/not-behind-cap",),
        count=_lists_beside,
    ),
    _State(
        name="requests to count tokens while all slots were occupied",
        checks=("cap/count-tokens",),
        count=_counts_beside,
    ),
    _State(
        name="rounds in which a dead provider was asked for its list",
        checks=("models/dead-provider",),
        count=_dead,
    ),
    _State(
        name="fetches of a list that a provider answered with an error",
        checks=("models/failure-not-cached", "models/failing-throttled"),
        count=_failing,
    ),
    _State(
        name="answers to other forms of a request than the usual one",
        checks=("wire/http",),
        count=_forms,
    ),
    _State(
        name="next requests on a connection that was kept",
        checks=("wire/keep-alive",),
        count=_next_requests,
    ),
    _State(
        name="requests while providers closed idle connections",
        checks=("wire/keep-alive",),
        count=_after_idle,
    ),
    _State(
        name="streams that lasted longer than the router's timeout",
        checks=("answers/slow-stream",),
        count=_slow_streams,
    ),
    _State(
        name="snapshots with calls of several replicas held",
        checks=("cap/replicas", "cap/replica-*", "cap/store-*"),
        count=_spread_over_replicas,
    ),
    _State(
        name="calls held when their replica or its store was disturbed",
        checks=("cap/replica-*", "cap/store-*"),
        count=_disturbed,
    ),
    _State(
        name="crowds that asked all replicas for the model list",
        checks=("models/one-fetch-cluster",),
        count=_crowds("lists-replicas"),
    ),
    _State(
        name="requests in flight when the router was told to drain",
        checks=("drain/*",),
        count=_in_flight_at("drain"),
    ),
    _State(
        name="requests in flight when the configuration was reloaded",
        checks=("reload/*",),
        count=_in_flight_at("reload"),
    ),
    _State(
        name="requests whose provider fell silent",
        checks=("silence/keep-alive", "silence/gives-up"),
        count=_silences,
    ),
)
"""In the order of the families."""
