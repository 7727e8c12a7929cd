"""Why the files of a start cannot be believed. Pure.

Decides whether they are whole, whose clocks can be compared, and whether they agree with the
account in their own footers.
Every fault is the harness's or the machine's, never the router's: it can only take accusations
away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fake_providers.records.evidence import ControlCall, Footer, Header, ListFetch
from routerspec.history import sweep
from routerspec.history.clocks import Clocks
from routerspec.records import load_processes, order
from routerspec.records.columns import MISSING, Calls, Column, Numbers, Packed
from routerspec.records.index import Observed
from routerspec.records.observations import (
    ClockExchange,
    ListObservation,
    Round,
    RoundEnd,
    Snapshot,
)
from routerspec.records.providers import PROVIDERS, instance_of
from routerspec.records.run import RecordedStart, StartInfo
from routerspec.records.storage import pieces

_LATEST_NS: Final = 1 << 60
"""A machine that has been up for 36 years."""

_AN_INSTANT_MORE: Final = np.array([0, 1])
_WHY_REFUSED: Final = {
    "token": "without the token of this run",
    "host": "with a foreign Host header",
    "origin": "with a foreign Origin header",
}


def of_start(
    recorded: RecordedStart,
    files: Mapping[str, Packed],
    clients: Mapping[int, Packed],
    observations: Packed,
    *,
    observed: Observed,
    clocks: Clocks,
) -> str:
    """Why nothing of this start can be believed, in one sentence; empty when it can.

    ``files``: the evidence, instance by instance, as ``recorded`` has it. ``clients``: the
    observations of each load process; ``observations``: those of all, ``observed`` by nonce;
    ``clocks``: the start's.
    """
    name = recorded.info.name
    fault = (
        _trouble(recorded.info)
        or _first(each.fault for each in recorded.evidence_files.values())
        or ("" if _died_unseen(recorded) else _short(recorded) or _headers(recorded))
        or _first(map(_times, (*files.values(), *clients.values())))
        or _first(_whose(name, its) for name, its in files.items())
        or _first(_account(each.footer, files[n]) for n, each in recorded.evidence_files.items())
        or _first(_made_by(number, its) for number, its in clients.items())
        or _doubles(observations, observed)
        or _unfinished(recorded.info, observations)
        or _foreign_changes(recorded, files)
        or clocks.fault()
    )
    return f"start {name}: {fault}" if fault else ""


def clocks_of(recorded: RecordedStart, clients: Mapping[int, Packed]) -> Clocks:
    """Whose clock each file has, and what is known of how far they are from each other."""
    return Clocks(
        of_instances={
            name: each.header.boot for name, each in recorded.evidence_files.items() if each.header
        },
        of_processes={
            number: each.header.boot
            for number, each in recorded.observation_files.items()
            if each.header
        },
        exchanges={
            number: tuple(r for r in its.others if isinstance(r, ClockExchange))
            for number, its in clients.items()
        },
    )


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
    gone = [
        f"the records of {load_processes.name_of(number)} are missing: {reason}"
        for number, reason in sorted(recorded.info.lost_load_processes.items())
    ]
    unread = _first(each.lost for each in recorded.observation_files.values())
    reasons = "; ".join(filter(None, (*gone, unread)))
    return f"start {recorded.info.name}: {reasons}" if reasons else ""


def _died_unseen(recorded: RecordedStart) -> bool:
    """The router died before the clients had recorded anything: then nothing of theirs is missing.

    Nothing can be judged without records, so that it is ``cut_short`` and accuses nobody.
    """
    info, observations = recorded.info, recorded.observations
    died = info.router_exit is not None or any(t.whose == "router" for t in info.incidents)
    return died and observations.header is None and not len(observations.records)


def _short(recorded: RecordedStart) -> str:
    """A file that is not whole, but of a load process that is said to be lost: what there is of
    it was written as everything else, and the rest is known to be missing.
    """
    files = recorded.observation_files
    lost = recorded.info.lost_load_processes
    return _first(each.fault for number, each in files.items() if number not in lost)


def _trouble(info: StartInfo) -> str:
    return next((t.text for t in info.incidents if t.whose == "harness"), "")


def _headers(recorded: RecordedStart) -> str:
    evidence, observations = recorded.evidence.header, recorded.observations.header
    further = [each.header for each in recorded.further.values()]
    lost = recorded.info.lost_load_processes
    further += [
        each.header
        for number, each in recorded.load_processes.items()
        if each.header is not None or number not in lost
    ]
    if evidence is None or observations is None or None in further:
        return "a file has no header"
    for header in filter(None, (evidence, observations, *further)):
        if header.run and header.run != recorded.info.token:
            return f"the {header.role} are those of run {header.run}, not {recorded.info.token}"
    return ""


def _times(records: Packed) -> str:
    """No clock has such times: sums of them overflow."""
    for columns in (records.calls, records.clients):
        for name in columns.fields:
            if name.endswith("_ns") and any(map(_are_far, _pieces(columns.numbers(name)))):
                return f"a record has an impossible {name}"
    for record in records.others:
        for name in record.__struct_fields__:
            if name.endswith("_ns") and abs(getattr(record, name) or 0) > _LATEST_NS:
                return f"a record has an impossible {name}"
    return ""


def own_clocks(recorded: RecordedStart) -> frozenset[str]:
    """The instances whose clock is not that of the load process that leads (``boot`` differs)."""
    names: set[str] = set()
    for name, each in recorded.evidence_files.items():
        if _is_elsewhere(recorded, each.header):
            names |= {name} if name else set(PROVIDERS)
    return frozenset(names)


def clients_elsewhere(recorded: RecordedStart) -> frozenset[int]:
    """The further load processes whose clock is not that of the one that leads."""
    processes = recorded.load_processes.items()
    return frozenset(number for number, each in processes if _is_elsewhere(recorded, each.header))


def _is_elsewhere(recorded: RecordedStart, header: Header | None) -> bool:
    leads = recorded.observations.header
    return leads is not None and header is not None and header.boot != leads.boot


def _whose(name: str, evidence: Packed) -> str:
    """A file has the records of its own instance only: numbers of calls are unique there."""
    its = set(evidence.calls.values("provider"))
    its |= {record.provider for record in evidence.others if isinstance(record, ListFetch)}
    strangers = sorted(each for each in its if (each if instance_of(each) > 1 else "") != name)
    if strangers:
        return f"the evidence of {name or 'the first instances'} has records of {strangers[0]}"
    return ""


def _account(footer: Footer | None, evidence: Packed) -> str:
    """The evidence's own sums, compared with its records.

    At equal stamps the writer may have counted an end after a start: its peak may lie anywhere
    between the two ways of counting.
    """
    if footer is None:
        return "the evidence has no footer"
    calls = evidence.calls
    fetches = sum(isinstance(record, ListFetch) for record in evidence.others)
    expected = {
        "calls": len(calls),
        "list_fetches": fetches,
        "peak_open": sweep.Sweep(_outer(calls)).peak,
        "open_ns": sum(int((outer[:, 1] - outer[:, 0]).sum()) for outer in _outer(calls)),
    }
    for name, records_say in expected.items():
        said = footer.account.get(name)
        if said == records_say:
            continue
        most = records_say
        if name == "peak_open":
            most = sweep.Sweep(outer + _AN_INSTANT_MORE for outer in _outer(calls)).peak
        if said is None or not records_say <= said <= most:
            return f"the evidence's own account says {name} = {said}, its records say {records_say}"
    for provider in calls.values("provider"):
        numbers = Column(np.int64)
        for part in pieces(len(calls)):
            its = calls.are("provider", provider, part)
            numbers.extend(calls.numbers("call", part)[its])
        if order.twice(numbers.sort()):
            return "two calls of the evidence have one number"
    return ""


def _outer(calls: Calls) -> Iterator[NDArray[np.int64]]:
    """The outer intervals of all calls, in pieces of shape (n, 2)."""
    for part in pieces(len(calls)):
        ends = (calls.numbers(name, part) for name in ("read_ns", "outer_end_ns"))
        yield np.stack(tuple(ends), axis=1)


def _pieces(numbers: Numbers) -> Iterator[Numbers]:
    return (numbers[part] for part in pieces(len(numbers)))


def _are_far(numbers: Numbers) -> bool:
    far = (numbers > _LATEST_NS) | (numbers < -_LATEST_NS)
    return bool((far & (numbers != MISSING)).any())


def _foreign_changes(recorded: RecordedStart, files: Mapping[str, Packed]) -> str:
    """The fakes obeyed somebody besides the clients' side of this start.

    Fakes that are only borrowed (their header names no run) are others' before and after it: of
    those with a clock of their own it cannot be told when that was.
    """
    observations = recorded.observations
    made = observations.footer.account.get("control_changes") if observations.footer else None
    if made is None or observations.header is None or observations.footer is None:
        return ""  # an older run, or a copy of one that is going on
    obeyed = 0
    for name, each in recorded.evidence_files.items():
        borrowed = each.header is not None and not each.header.run
        begin, end = observations.header.started_ns, observations.footer.closed_ns
        if _is_elsewhere(recorded, each.header):
            if borrowed:
                continue
            begin, end = 0, _LATEST_NS
        obeyed += sum(
            isinstance(record, ControlCall)
            and not record.refused
            and (begin if borrowed else 0) <= record.at_ns <= end
            for record in files[name].others
        )
    if obeyed <= made:
        return ""
    return (
        f"somebody else controlled the fakes: they obeyed {obeyed} requests that change "
        f"something, and routerspec sent {made}"
    )


def refused_control(recorded: RecordedStart, evidence: Packed) -> str:
    """Who else reached for the control API and was refused, in a sentence; empty for nobody."""
    footers = [each.footer for each in recorded.evidence_files.values() if each.footer]
    refused = [r for r in evidence.others if isinstance(r, ControlCall) and r.refused]
    count = max(len(refused), sum(f.account.get("control_refused", 0) for f in footers))
    if not refused:
        return ""
    first = refused[0]
    return (
        f"start {recorded.info.name}: somebody else reached for the fakes' control API: {count} "
        f"{'request was' if count == 1 else 'requests were'} refused, the first {first.method} "
        f"{first.path} ({_WHY_REFUSED[first.refused]}). It changed nothing."
    )


def _first(faults: Iterable[str]) -> str:
    return next(filter(None, faults), "")


def _made_by(process: int, observations: Packed) -> str:
    """A file has the requests of its own load process only, and a further one leads no round."""
    lists = [r.request for r in observations.others if isinstance(r, ListObservation)]
    numbers = (*_pieces(observations.clients.numbers("nonce")), np.array(lists, np.int64))
    strangers = (its[its >> load_processes.SHARE_BITS != process] for its in numbers)
    found = next((its for its in strangers if len(its)), None)
    if found is not None:
        number = found.item(0)
        return (
            f"the observations of {load_processes.name_of(process)} have request {number}, of "
            f"{load_processes.name_of(load_processes.process_of(number))}"
        )
    if process and any(isinstance(r, Round | RoundEnd | Snapshot) for r in observations.others):
        return f"the observations of {load_processes.name_of(process)} have a round"
    return ""


def _doubles(observations: Packed, observed: Observed) -> str:
    if again := order.twice(observed.nonces):
        return f"nonce {again[0]} was used by two requests"
    rounds = Counter(r.round for r in observations.others if isinstance(r, Round))
    number = next((number for number, count in rounds.items() if count > 1), None)
    if number is not None:
        return f"two rounds have the number {number}"
    of = [r.round for r in observations.others if isinstance(r, Snapshot | RoundEnd)]
    of += observed.rounds
    stray = next((number for number in of if number not in rounds), None)
    if stray is not None:
        return f"a record names round {stray}, which never began"
    return ""


def _unfinished(info: StartInfo, observations: Packed) -> str:
    """A start that says it finished has an end to every round."""
    begun = {r.round for r in observations.others if isinstance(r, Round)}
    ended = {r.round for r in observations.others if isinstance(r, RoundEnd)}
    if info.finished and begun - ended:
        return f"round {min(begun - ended)} has no end, though the start says it finished"
    return ""
