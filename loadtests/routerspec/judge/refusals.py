"""What the router refused by itself: requests with such a status that no provider saw. Pure.

Another limit than the cap (of requests a minute, of connections, of a pool) answers before a
provider is asked, and the checks that it hollows out have other words for what they miss.

Doubt: a refusal that a promise explains is not counted. With a cap that rejects, or a queue with an
end, that is any with a promised status while all slots were occupied, or had been a quarter of a
second before; with a recovery time any 5xx after a provider's failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routerspec.checks.cap import intervals
from routerspec.history import sweep
from routerspec.history.history import History, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.records.columns import MISSING
from routerspec.records.index import pairs
from routerspec.verdict import Refusals

STATUSES: Final = (408, 429, 502, 503, 504)
"""What a router answers that does not take a request now; others are about the request."""
_JUST_BEFORE_NS: Final = 250_000_000

Times = NDArray[np.int64]


def of_history(history: History) -> tuple[Refusals, ...]:
    """Start by start and status by status, of the starts that can be believed."""
    starts = (start for start in history.starts if not start.fault)
    return tuple(its for start in starts for its in of_start(start, history.promises))


def of_start(
    start: StartHistory, promises: Promises, scenarios: Collection[str] = ()
) -> list[Refusals]:
    """By status; with ``scenarios``, of the requests of their rounds."""
    clients = start.observed.clients
    here = np.ones(len(clients.numbers("nonce")), np.bool_)
    if scenarios:
        rounds = [played.round.round for played in start.played(*scenarios)]
        here = np.isin(clients.numbers("round"), rounds)
    status = clients.numbers("status")
    refused = here & np.isin(status, STATUSES)
    if not refused.any():
        return []
    refused &= ~np.isin(clients.numbers("nonce"), pairs(start.calls)[1])
    spans = np.stack((clients.numbers("started_ns"), clients.numbers("end_ns")), axis=1)
    unexplained = np.flatnonzero(refused)
    unexplained = unexplained[~_explained(start, promises, status[unexplained], spans[unexplained])]
    found, counts = np.unique(status[unexplained], return_counts=True)
    requests = int(here.sum())
    return [
        Refusals(start=start.info.name, status=its, count=count, requests=requests)
        for its, count in zip(found.tolist(), counts.tolist(), strict=True)
    ]


def sentence(refusals: Iterable[Refusals]) -> str:
    """What hollows out a check, as a clause; empty without any."""
    return "; ".join(
        f"in start {its.start} the router itself refused {its.count} of {its.requests} of these "
        f"requests with {its.status}: another limit than the cap?"
        for its in refusals
    )


def _explained(
    start: StartHistory, promises: Promises, status: Times, spans: Times
) -> NDArray[np.bool_]:
    explained = np.zeros(len(status), np.bool_)
    cap = promises.cap
    if cap is not None and start.info.settings.cap is not None and _rejects(cap):
        promised = np.isin(status, cap.reject_status)
        explained |= promised & _saturated(start, cap, start.info.settings.cap, spans)
    if promises.recovery_s:
        window_ns = round((promises.recovery_s + 1) * 1e9)
        explained |= (status >= 500) & _failed_before(start, spans, window_ns)
    return explained


def _rejects(cap: Cap) -> bool:
    return cap.overload == "reject" or (cap.queue_limit, cap.queue_timeout_s) != (None, None)


def _saturated(start: StartHistory, cap: Cap, limit: int, spans: Times) -> NDArray[np.bool_]:
    """Whether all slots of some group were occupied in these spans, or just before."""
    found = np.zeros(len(spans), np.bool_)
    for group in intervals.by_group(cap, start.calls) if len(start.calls) else []:
        open_ = sweep.sweep(intervals.counted(cap, group, intervals.outer(group)))
        full = np.array(sweep.above(open_, limit - 1), np.int64).reshape(-1, 2)
        if len(full):
            last = np.searchsorted(full[:, 0], spans[:, 1]) - 1  # the last to begin before its end
            found |= (last >= 0) & (full[last, 1] > spans[:, 0] - _JUST_BEFORE_NS)
    return found


def _failed_before(start: StartHistory, spans: Times, window_ns: int) -> NDArray[np.bool_]:
    """Whether a provider had failed so short a time before."""
    calls = start.calls
    status = calls.numbers("status")
    bad = (status >= 400) | (status == MISSING) | calls.are("ended_by", "cut")
    ends = np.sort(calls.numbers("outer_end_ns")[bad])
    if not len(ends):
        return np.zeros(len(spans), np.bool_)
    last = np.searchsorted(ends, spans[:, 1]) - 1
    return (last >= 0) & (ends[last] >= spans[:, 0] - window_ns)
