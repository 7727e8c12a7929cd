"""What the router refused by itself: requests with such a status that no provider saw. Pure.

Another limit than the cap (of requests a minute, of connections, of a pool) answers before a
provider is asked, and the checks that it hollows out have other words for what they miss.

Doubt: a refusal that a promise explains is not counted. With a cap that rejects, or a queue with an
end, that is any with a promised status while all slots may have been occupied: by calls that were
open or requests that were not refused, a quarter of a second sooner or later. With a recovery time
it is any 5xx after a provider's failure, and any 429 on a start with limits of requests or tokens;
with a store whose loss closes the router, any promised status once it was lost or out of reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routerspec.checks.cap import intervals
from routerspec.checks.cap.axis import Axis
from routerspec.history import sweep
from routerspec.history.history import History, StartHistory
from routerspec.history.sweep import Sweep, Times
from routerspec.limits import GONE_S
from routerspec.promises import Cap, Limits, Promises
from routerspec.records.columns import MISSING, Column
from routerspec.records.observations import RouterSignal
from routerspec.records.storage import pieces
from routerspec.verdict import Refusals

STATUSES: Final = (408, 429, 502, 503, 504, 529)
"""What a router answers that does not take a request now; others are about the request."""
_ABOUT_NS: Final = 250_000_000
"""A slot is occupied before its call reaches the provider, and for a while after its end."""

_REFUSED: Final = 400
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_EVER_NS: Final = 1 << 61


def of_history(history: History) -> tuple[Refusals, ...]:
    """Start by start and status by status, of the starts that can be believed."""
    starts = (start for start in history.starts if not start.fault)
    return tuple(its for start in starts for its in of_start(start, history.promises))


def of_start(
    start: StartHistory, promises: Promises, scenarios: Collection[str] = ()
) -> list[Refusals]:
    """By status; with ``scenarios``, of the requests of their rounds."""
    rows, requests = _unasked(start, scenarios)
    status, spans = _of(start, rows)
    explained = _by_cap(start, promises, status, spans) | _by_recovery(
        start, promises, status, spans
    )
    explained |= _by_limits(start, status) | _by_loss(start, promises, status, spans)
    return _counted(start, status[~explained], requests)


def sentence(start: StartHistory, promises: Promises, scenarios: Collection[str]) -> str:
    """What of these scenarios the router refused without asking any provider, as a clause.

    What a saturated router or a limit is promised to refuse is left out. Empty where nothing is
    left.
    """
    rows, requests = _unasked(start, scenarios)
    status, spans = _of(start, rows)
    promised = _by_cap(start, promises, status, spans) | _by_limits(start, status)
    promised |= _by_loss(start, promises, status, spans)
    status, spans = status[~promised], spans[~promised]
    after = (status >= _SERVER_ERROR) & _failed_before(start, spans, _EVER_NS)
    recovery = _by_recovery(start, promises, status, spans)
    parts = (
        (recovery, ", asking no provider, in the recovery time after a provider's failure"),
        (after & ~recovery, ", asking no provider, after its failure: a circuit breaker?"),
        (~after & ~recovery, ": another limit than the cap?"),
    )
    return "; ".join(
        f"in start {its.start} the router itself refused {its.count} of {its.requests} of these "
        f"requests with {its.status}{why}"
        for which, why in parts
        for its in _counted(start, status[which], requests)
    )


def _unasked(start: StartHistory, scenarios: Collection[str]) -> tuple[Times, int]:
    """(rows of the requests that were refused and no provider saw, how many requests in all)."""
    clients = start.observed.clients
    rounds = [played.round.round for played in start.played(*scenarios)] if scenarios else None
    found, requests = Column(np.intp), 0
    for part in pieces(len(clients)):
        here = np.ones(part.stop - part.start, np.bool_)
        if rounds is not None:
            here = np.isin(clients.numbers("round", part), rounds)
        for signal in _drains(start):
            here &= clients.numbers("end_ns", part) < signal.before_ns
        requests += int(here.sum())
        if start.foreign_clocks:
            continue  # Whether the router was saturated then cannot be told.
        rows = np.flatnonzero(here & np.isin(clients.numbers("status", part), STATUSES))
        rows += part.start
        found.extend(rows[start.calls_of.counts(clients.numbers("nonce", rows)) == 0])
    return found.array, requests


def _drains(start: StartHistory) -> Iterator[RouterSignal]:
    """The signals after which a router refuses what is new."""
    for played in start.rounds:
        yield from (signal for signal in played.signals if signal.what == "drain")


def _of(start: StartHistory, rows: Times) -> tuple[Times, Times]:
    """(status, begin and end) of these requests."""
    clients = start.observed.clients
    spans = np.stack((clients.numbers("started_ns", rows), clients.numbers("end_ns", rows)), axis=1)
    return clients.numbers("status", rows), spans


def _counted(start: StartHistory, status: Times, requests: int) -> list[Refusals]:
    found, counts = np.unique(status, return_counts=True)
    return [
        Refusals(start=start.info.name, status=its, count=count, requests=requests)
        for its, count in zip(found.tolist(), counts.tolist(), strict=True)
    ]


def _by_cap(
    start: StartHistory, promises: Promises, status: Times, spans: Times
) -> NDArray[np.bool_]:
    """A saturated router that is promised to refuse."""
    cap = promises.cap
    if not len(status) or cap is None or start.info.settings.cap is None or not _rejects(cap):
        return np.zeros(len(status), np.bool_)
    promised = np.isin(status, cap.rejections)
    return promised & _saturated(start, cap, start.info.settings.cap, spans)


def _by_recovery(
    start: StartHistory, promises: Promises, status: Times, spans: Times
) -> NDArray[np.bool_]:
    """A router that spares a provider which has failed."""
    if not len(status) or not promises.recovery_s:
        return np.zeros(len(status), np.bool_)
    window_ns = round((promises.recovery_s + 1) * 1e9)
    return (status >= _SERVER_ERROR) & _failed_before(start, spans, window_ns)


def _by_limits(start: StartHistory, status: Times) -> NDArray[np.bool_]:
    """A limit of requests or tokens that is on."""
    found: NDArray[np.bool_] = status == _TOO_MANY
    return found & isinstance(start.info.settings.limits, Limits)


def _by_loss(
    start: StartHistory, promises: Promises, status: Times, spans: Times
) -> NDArray[np.bool_]:
    """A replica that lost its store, or still gathers from it what is in use."""
    cap = promises.cap
    lost = [its.before_ns for its in start.disturbances if its.service]
    if not lost or cap is None or cap.store_loss != "closed":
        return np.zeros(len(status), np.bool_)
    refused: NDArray[np.bool_] = np.isin(status, cap.rejections)
    return refused & (spans[:, 1] > min(lost))


def _rejects(cap: Cap) -> bool:
    return cap.overload == "reject" or (cap.queue_limit, cap.queue_timeout_s) != (None, None)


def _saturated(start: StartHistory, cap: Cap, limit: int, spans: Times) -> NDArray[np.bool_]:
    """Whether all slots of some group may have been occupied at about the time of these spans."""
    groups = intervals.by_group(cap, start.calls) if len(start.calls) else []
    axis = Axis(start=start)
    calls = (intervals.swept(cap, group, intervals.outer(axis, group)) for group in groups)
    found = np.zeros(len(spans), np.bool_)
    for open_ in itertools.chain([Sweep(_served(start))], calls):
        full = sweep.above(open_, limit - 1)
        if len(full):
            # The last that began before the end: it must have lasted to the beginning.
            last = np.searchsorted(full[:, 0], spans[:, 1] + _ABOUT_NS) - 1
            found |= (last >= 0) & (full[last, 1] > spans[:, 0] - _ABOUT_NS)
    return found


def _served(start: StartHistory) -> Iterator[Times]:
    """From the beginning of each request that was not refused to its end, some at a time."""
    clients = start.observed.clients
    for part in pieces(len(clients)):
        begins, ends = clients.numbers("started_ns", part), clients.numbers("end_ns", part)
        # The slot of a client that is gone comes back when the router has noticed.
        gone = np.where(clients.numbers("hang_up_ns", part) != MISSING, round(GONE_S * 1e9), 0)
        its = clients.numbers("status", part) < _REFUSED  # ``MISSING`` is far below.
        yield np.stack((begins, ends + gone), axis=1)[its]


def _failed_before(start: StartHistory, spans: Times, window_ns: int) -> NDArray[np.bool_]:
    """Whether a provider had failed so short a time before."""
    failed = Column(np.int64)
    for _, calls in start.calls.pieces():
        status = calls.numbers("status")
        bad = (status >= 400) | (status == MISSING) | calls.are("ended_by", "cut")
        failed.extend(calls.numbers("outer_end_ns")[bad])
    ends = failed.sort()
    if not len(ends):
        return np.zeros(len(spans), np.bool_)
    last = np.searchsorted(ends, spans[:, 1]) - 1
    return (last >= 0) & (ends[last] >= spans[:, 0] - window_ns)
