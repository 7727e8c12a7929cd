"""The intervals of calls: which of them may accuse, and what a cap counts. Pure, vectorised.

For all calls of a round at once: the inner and the outer interval of each, the group of the cap's
scope that it counts in, and when a client waited.

Times are arrays of shape (n, 2), nanoseconds, half-open; an interval of no length is never open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks.cap.axis import Axis
from routerspec.history import sweep
from routerspec.history.history import PlayedRound, StartHistory
from routerspec.history.sweep import Sweep, Times
from routerspec.promises import Cap
from routerspec.records import storage
from routerspec.records.columns import MISSING, Flags, Numbers, Rows
from routerspec.records.index import NOBODY, pairs
from routerspec.records.observations import Observation
from routerspec.records.providers import base_of

_NONE: Final = np.empty(0, np.int64)


def of_round(start: StartHistory, played: PlayedRound) -> Rows[Call]:
    """The calls all of whose nonces are of the round's clients."""
    number, observed = played.round.round, start.observed
    its = np.ones(len(start.calls), np.bool_)
    for part, calls in start.calls.pieces():
        at, nonces = pairs(calls)
        rows = observed.rows(nonces)
        here = rows != NOBODY
        here[here] = observed.clients.numbers("round", rows[here]) == number
        its[part][at[~here]] = False
    return start.calls.only(its)


def without(calls: Rows[Call], nonces: Iterable[Numbers]) -> Rows[Call]:
    """The calls none of whose nonces is one of these."""
    barred = np.concatenate([*nonces, np.empty(0, np.int64)])
    its = np.ones(len(calls), np.bool_)
    for part, some in calls.pieces():
        at, own = pairs(some)
        its[part][at[np.isin(own, barred)]] = False
    return calls.only(its)


def by_group(cap: Cap, calls: Rows[Call]) -> list[Rows[Call]]:
    """The calls by the group of the cap's scope that each counts in, first called first."""
    groups = np.concatenate([_groups(cap, some) for _, some in calls.pieces()] or [_NONE])
    _, firsts = np.unique(groups, return_index=True)
    return [calls.only(groups == groups[first]) for first in np.sort(firsts).tolist()]


def outer(axis: Axis, calls: Rows[Call]) -> Times:
    """From the whole request read to the last byte or the close: may only excuse."""
    return _spans(axis, calls, "outer_end_ns")


def inner(axis: Axis, calls: Rows[Call]) -> Times:
    """What may accuse; of no length where the call may not (``under_load`` says which)."""
    spans = _spans(axis, calls, "inner_end_ns")
    barred = np.zeros(len(calls), np.bool_)
    unanswered = np.zeros(len(calls), np.bool_)
    failed = np.zeros(len(calls), np.bool_)
    for part, some in calls.pieces():
        barred[part], unanswered[part] = _cut_short(axis, some, spans[part])
        failed[part] = (some.numbers("status") >= 400) | ~some.are("finished", True)
    _end_with_siblings(axis, calls, spans, failed, unanswered)
    spans[barred, 1] = spans[barred, 0]
    return spans


def _cut_short(axis: Axis, calls: Rows[Call], spans: Times) -> tuple[Flags, Flags]:
    """(which calls may not accuse, which had a client that was not answered), some calls at once.

    Their spans end where their clients disconnected.
    """
    start = axis.start
    _, ended_latest = axis.of_calls(calls, "inner_end_ns")
    at, nonces = pairs(calls)
    rows = start.observed.rows(nonces)
    known = rows != NOBODY
    barred = np.zeros(len(calls), np.bool_)
    barred[at[~known]] = True
    at, clients = at[known], Rows(start.observed.clients, rows[known])
    gave_up = clients.are("outcome", "timed_out")
    hung_up, hung_up_latest = axis.of_clients(clients, "hang_up_ns")
    left = (clients.numbers("hang_up_ns") != MISSING) & ~gave_up
    broke = clients.are("outcome", "failed") & ~left
    broke_off, _ = axis.of_clients(clients, "end_ns")
    barred[at[gave_up | (broke & (broke_off <= ended_latest[at]))]] = True
    # A router may release its slot as soon as its client is gone.
    np.minimum.at(spans[:, 1], at[left], hung_up[left])
    excused = np.zeros(len(calls), np.bool_)
    outer_ended, _ = axis.of_calls(calls, "outer_end_ns")
    excused[at[left & (hung_up_latest <= outer_ended[at])]] = True
    unanswered = np.zeros(len(calls), np.bool_)
    unanswered[at[~clients.are("outcome", "answered")]] = True
    closed = calls.are("ended_by", "peer") | (calls.numbers("peer_closed_ns") != MISSING)
    return barred | (closed & ~excused), unanswered


def _end_with_siblings(
    axis: Axis, calls: Rows[Call], spans: Times, failed: Flags, unanswered: Flags
) -> None:
    """A request has failed once one of its calls has: the router may close the others.

    Its close may cross the end of a call, which was then completed as if nobody had closed it. It
    may cross the beginning of one, too, and was the last that the router did where the client was
    not answered. What is not known of the order of two of them is in the router's favour.
    """
    groups: defaultdict[int, list[int]] = defaultdict(list)
    bad = pairs(calls.only(failed))[1] if failed.any() else _NONE
    bad = bad[axis.start.calls_of.counts(bad) > 1]
    width_ns = axis.width_ns(calls) if len(bad) else 0
    for part, some in calls.pieces() if len(bad) else ():
        at, nonces = pairs(some)
        its = np.isin(nonces, bad)
        for index, nonce in zip(at[its].tolist(), nonces[its].tolist(), strict=True):
            groups[nonce].append(part.start + index)
    for siblings in groups.values():
        for first in filter(failed.__getitem__, siblings if len(siblings) > 1 else ()):
            failed_ns = spans[first, 1]
            for other in siblings:
                if unanswered[other] or spans[other, 0] - width_ns < failed_ns:
                    spans[other, 1] = min(spans[other, 1], max(spans[other, 0], failed_ns))


def counted(cap: Cap, calls: Rows[Call], spans: Times) -> Times:
    """What is counted: the calls, or the client requests with at least one of them open."""
    if cap.counts == "calls":
        return spans
    at, nonces = pairs(calls)
    order = np.argsort(nonces, kind="stable")
    its, at = nonces[order], at[order]
    begins = np.flatnonzero(np.diff(its, prepend=MISSING))
    sizes = np.diff(begins, append=len(its))
    single = spans[at[begins[sizes == 1]]]
    joined = [
        span
        for begin, size in zip(begins[sizes > 1], sizes[sizes > 1], strict=True)
        for span in sweep.union(map(tuple, spans[at[begin : begin + size]].tolist()))
    ]
    return np.concatenate((single, np.array(joined, np.int64).reshape(-1, 2)))


def swept(cap: Cap, calls: Rows[Call], spans: Times) -> Sweep:
    """How many of what is counted are open, over time."""
    its = counted(cap, calls, spans)
    return Sweep(its[part] for part in storage.pieces(len(its)))


def waits(axis: Axis, played: PlayedRound, cap: Cap, group: Rows[Call]) -> Iterator[Times]:
    """When clients that end up in this group had written their request and no call was read, some
    clients after the others.

    A client that never reached a provider waited until its end: for a slot, or to be refused.
    """
    here = _groups(cap, group[:1])
    for _, clients in played.observations.pieces():
        yield _waits(axis, clients, cap, here)


def _waits(axis: Axis, clients: Rows[Observation], cap: Cap, group: Numbers) -> Times:
    start = axis.start
    wrote = clients.only(clients.numbers("sent_ns") != MISSING)
    first = start.calls_of.first(wrote.numbers("nonce"))
    nowhere = first == NOBODY
    calls = Rows(start.calls.columns, first)
    here = _groups(cap, calls) == group
    _, sent = axis.of_clients(wrote, "sent_ns")
    ended, _ = axis.of_clients(wrote, "end_ns")
    read, _ = axis.of_calls(calls, "read_ns")
    found: Times = np.stack((sent, np.where(nowhere, ended, read)), axis=1)[nowhere | here]
    return found


def open_at(spans: Times, at_ns: int) -> Flags:
    """Which of the spans are open at this time."""
    its: Flags = (spans[:, 0] <= at_ns) & (at_ns < spans[:, 1])
    return its


def _spans(axis: Axis, calls: Rows[Call], end: str) -> Times:
    spans: Times = storage.empty(2 * len(calls), np.int64).reshape(-1, 2)
    for part, some in calls.pieces():
        _, spans[part, 0] = axis.of_calls(some, "read_ns")
        spans[part, 1], _ = axis.of_calls(some, end)
    return spans


def _groups(cap: Cap, calls: Rows[Call]) -> Numbers:
    """A number for each call: the same in one group, as ``held_calls.group_of`` has it."""
    if cap.scope not in {"provider", "model"}:
        return np.zeros(len(calls), np.int64)
    bases = [base_of(name) for name in calls.columns.values("provider")]
    codes = np.array([bases.index(base) for base in bases], np.int64)
    groups = codes[calls.numbers("provider")]
    if cap.scope == "model":
        groups += len(calls.columns.values("provider")) * calls.numbers("model")
    return groups
