"""Why the files of a start cannot be believed. Pure.

Decides whether they are whole, use one clock, and agree with the account in their own footers.
Every fault is the harness's or the machine's, never the router's: it can only take accusations
away.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fake_providers.records.evidence import ControlCall, Footer, ListFetch
from routerspec.history import sweep
from routerspec.records.columns import MISSING, Packed
from routerspec.records.observations import Round, RoundEnd, Snapshot
from routerspec.records.run import RecordedStart, StartInfo

_LATEST_NS: Final = 1 << 60
"""A machine that has been up for 36 years."""

_AN_INSTANT_MORE: Final = np.array([0, 1])
_WHY_REFUSED: Final = {
    "token": "without the token of this run",
    "host": "with a foreign Host header",
    "origin": "with a foreign Origin header",
}


def of_start(recorded: RecordedStart, evidence: Packed, observations: Packed) -> str:
    """Why nothing of this start can be believed, in one sentence; empty when it can."""
    name = recorded.info.name
    fault = (
        _trouble(recorded.info)
        or recorded.evidence.fault
        or next((each.fault for each in recorded.further.values() if each.fault), "")
        or ("" if _died_unseen(recorded) else recorded.observations.fault or _headers(recorded))
        or _times(evidence)
        or _times(observations)
        or _accounts(recorded, evidence)
        or _doubles(observations)
        or _unfinished(recorded.info, observations)
        or _foreign_changes(recorded, evidence)
    )
    return f"start {name}: {fault}" if fault else ""


def cut_short(info: StartInfo) -> str:
    """Why a start did not go to its end although the harness was well; empty when it did."""
    router = next((t.text for t in info.incidents if t.whose == "router"), "")
    if info.router_exit is not None:
        return router or f"the router ended with status {info.router_exit} half-way"
    if not info.finished:
        return f"start {info.name} was not played to its end" + (f": {router}" if router else "")
    return ""


def lost(recorded: RecordedStart) -> str:
    """Which records of clients cannot be read: what they would have shown was not seen."""
    unread = recorded.observations.lost
    return f"start {recorded.info.name}: {unread}" if unread else ""


def _died_unseen(recorded: RecordedStart) -> bool:
    """The router died before the clients had recorded anything: then nothing of theirs is missing.

    Nothing can be judged without records, so that it is ``cut_short`` and accuses nobody.
    """
    info, observations = recorded.info, recorded.observations
    died = info.router_exit is not None or any(t.whose == "router" for t in info.incidents)
    return died and observations.header is None and not len(observations.records)


def _trouble(info: StartInfo) -> str:
    return next((t.text for t in info.incidents if t.whose == "harness"), "")


def _headers(recorded: RecordedStart) -> str:
    evidence, observations = recorded.evidence.header, recorded.observations.header
    further = [each.header for each in recorded.further.values()]
    if evidence is None or observations is None:
        return "a file has no header"
    if any(each is None or each.boot != observations.boot for each in (evidence, *further)):
        return "evidence and observations use different clocks (boot differs)"
    for header in (evidence, observations, *further):
        if header is not None and header.run and header.run != recorded.info.token:
            return f"the {header.role} are those of run {header.run}, not {recorded.info.token}"
    return ""


def _times(records: Packed) -> str:
    """No clock has such times: sums of them overflow."""
    for columns in (records.calls, records.clients):
        for name in columns.fields:
            if name.endswith("_ns"):
                numbers = columns.numbers(name)
                far = (numbers > _LATEST_NS) | (numbers < -_LATEST_NS)
                if (far & (numbers != MISSING)).any():
                    return f"a record has an impossible {name}"
    for record in records.others:
        for name in record.__struct_fields__:
            if name.endswith("_ns") and abs(getattr(record, name) or 0) > _LATEST_NS:
                return f"a record has an impossible {name}"
    return ""


def _accounts(recorded: RecordedStart, evidence: Packed) -> str:
    """The sums of each file of the evidence; ``evidence`` has the records of all of them."""
    if not recorded.further:
        return _account(recorded.evidence.footer, evidence)
    token = recorded.info.token
    files = {"": recorded.evidence, **recorded.further}
    packed = {name: Packed.of(each.records, token) for name, each in files.items()}
    for name, its in packed.items():
        strangers = set(its.calls.values("provider")) - {name}
        if strangers & set(recorded.further) if not name else strangers:
            return f"the evidence of {name or 'the first instances'} has calls of others"
    accounts = (_account(files[name].footer, its) for name, its in packed.items())
    return next((fault for fault in accounts if fault), "")


def _account(footer: Footer | None, evidence: Packed) -> str:
    """The evidence's own sums, compared with its records.

    At equal stamps the writer may have counted an end after a start: its peak may lie anywhere
    between the two ways of counting.
    """
    if footer is None:
        return "the evidence has no footer"
    calls = evidence.calls
    fetches = sum(isinstance(record, ListFetch) for record in evidence.others)
    outer = np.stack((calls.numbers("read_ns"), calls.numbers("outer_end_ns")), axis=1)
    open_ns = int((outer[:, 1] - outer[:, 0]).sum())
    expected = {
        "calls": len(calls),
        "list_fetches": fetches,
        "peak_open": sweep.sweep(outer).peak,
        "open_ns": open_ns,
    }
    for name, records_say in expected.items():
        said = footer.account.get(name)
        if said == records_say:
            continue
        most = sweep.sweep(outer + _AN_INSTANT_MORE).peak if name == "peak_open" else records_say
        if said is None or not records_say <= said <= most:
            return f"the evidence's own account says {name} = {said}, its records say {records_say}"
    numbers = np.stack((calls.numbers("provider"), calls.numbers("call")), axis=1)
    if _twice(numbers[np.lexsort(numbers.T)]) is not None:
        return "two calls of the evidence have one number"
    return ""


def _foreign_changes(recorded: RecordedStart, evidence: Packed) -> str:
    """The fakes obeyed somebody besides the clients' side of this start.

    Fakes that are only borrowed (their header names no run) are others' before and after it.
    """
    observations = recorded.observations
    made = observations.footer.account.get("control_changes") if observations.footer else None
    if made is None or observations.header is None or observations.footer is None:
        return ""  # an older run, or a copy of one that is going on
    borrowed = recorded.evidence.header is not None and not recorded.evidence.header.run
    from_ns = observations.header.started_ns if borrowed else 0
    accepted = [
        record
        for record in evidence.others
        if isinstance(record, ControlCall)
        and not record.refused
        and from_ns <= record.at_ns <= observations.footer.closed_ns
    ]
    if len(accepted) <= made:
        return ""
    return (
        f"somebody else controlled the fakes: they obeyed {len(accepted)} requests that change "
        f"something, and routerspec sent {made}"
    )


def refused_control(recorded: RecordedStart, evidence: Packed) -> str:
    """Who else reached for the control API and was refused, in a sentence; empty for nobody."""
    footer = recorded.evidence.footer
    refused = [r for r in evidence.others if isinstance(r, ControlCall) and r.refused]
    count = max(len(refused), footer.account.get("control_refused", 0) if footer else 0)
    if not refused:
        return ""
    first = refused[0]
    return (
        f"start {recorded.info.name}: somebody else reached for the fakes' control API: {count} "
        f"{'request was' if count == 1 else 'requests were'} refused, the first {first.method} "
        f"{first.path} ({_WHY_REFUSED[first.refused]}). It changed nothing."
    )


def _doubles(observations: Packed) -> str:
    nonces = observations.clients.numbers("nonce")
    nonce = _twice(np.sort(nonces, kind="stable")[:, np.newaxis])
    if nonce is not None:
        return f"nonce {nonce} was used by two requests"
    rounds = Counter(r.round for r in observations.others if isinstance(r, Round))
    number = next((number for number, count in rounds.items() if count > 1), None)
    if number is not None:
        return f"two rounds have the number {number}"
    of = [r.round for r in observations.others if isinstance(r, Snapshot | RoundEnd)]
    of += np.unique(observations.clients.numbers("round")).tolist()
    stray = next((number for number in of if number not in rounds), None)
    if stray is not None:
        return f"a record names round {stray}, which never began"
    return ""


def _twice(rising: NDArray[np.int64]) -> int | None:
    """The last number of the first row that stands twice; rows of shape (n, columns), in order."""
    again = np.flatnonzero((rising[1:] == rising[:-1]).all(axis=1))
    return int(rising[again[0], -1]) if len(again) else None


def _unfinished(info: StartInfo, observations: Packed) -> str:
    """A start that says it finished has an end to every round."""
    begun = {r.round for r in observations.others if isinstance(r, Round)}
    ended = {r.round for r in observations.others if isinstance(r, RoundEnd)}
    if info.finished and begun - ended:
        return f"round {min(begun - ended)} has no end, though the start says it finished"
    return ""
