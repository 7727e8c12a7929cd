"""The faults of a start: why what was recorded cannot be believed. Pure.

Decides whether the files of one start are whole, tell their times by one clock, and keep the
account that their own footers give. Refuses to know any promise. Every fault is the harness's or
the machine's, never the router's: it can only take accusations away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fake_providers.evidence import Call, ListFetch
from routerspec import sweep
from routerspec.observations import Look, Observation, Record, Round, RoundEnd
from routerspec.run import RecordedStart, StartInfo


def of_start(recorded: RecordedStart) -> str:
    """Why nothing of this start can be believed, in one sentence; empty when it can."""
    name = recorded.info.name
    told = (
        _trouble(recorded.info)
        or recorded.evidence.fault
        or recorded.observations.fault
        or _headers(recorded)
        or _account(recorded)
        or _doubles(recorded.observations.records)
        or _unfinished(recorded)
    )
    return f"start {name}: {told}" if told else ""


def cut_short(info: StartInfo) -> str:
    """Why a start did not go to its end although the harness was well; empty when it did."""
    if info.router_exit is not None:
        return f"the router ended with status {info.router_exit} half-way"
    router = next((t.text for t in info.troubles if t.whose == "router"), "")
    if not info.finished:
        return f"start {info.name} was not played to its end" + (f": {router}" if router else "")
    return ""


def _trouble(info: StartInfo) -> str:
    return next((t.text for t in info.troubles if t.whose == "harness"), "")


def _headers(recorded: RecordedStart) -> str:
    evidence, observations = recorded.evidence.header, recorded.observations.header
    if evidence is None or observations is None:
        return "a file has no header"
    if evidence.boot != observations.boot:
        return "evidence and observations are told by different clocks (boot differs)"
    for header in (evidence, observations):
        if header.run and header.run != recorded.info.token:
            return f"the {header.role} are those of run {header.run}, not {recorded.info.token}"
    return ""


def _account(recorded: RecordedStart) -> str:
    """The evidence's own sums, held against its records.

    At equal stamps the writer may have counted an end after a start: its peak may lie anywhere
    between the two ways of counting.
    """
    footer = recorded.evidence.footer
    if footer is None:
        return "the evidence has no footer"
    calls = [r for r in recorded.evidence.records if isinstance(r, Call)]
    fetches = [r for r in recorded.evidence.records if isinstance(r, ListFetch)]
    outer = [(call.read_ns, call.outer_end_ns) for call in calls]
    least = sweep.sweep(outer).peak
    most = sweep.sweep((start, end + 1) for start, end in outer).peak
    expected: dict[str, tuple[int, int]] = {
        "calls": (len(calls), len(calls)),
        "list_fetches": (len(fetches), len(fetches)),
        "peak_open": (least, most),
        "open_ns": (total := sum(end - start for start, end in outer), total),
    }
    for name, (low, high) in expected.items():
        said = footer.account.get(name)
        if said is None or not low <= said <= high:
            return f"the evidence's own account says {name} = {said}, its records say {low}"
    if len({(call.provider, call.call) for call in calls}) != len(calls):
        return "two calls of the evidence have one number"
    return ""


def _doubles(told: Sequence[Record]) -> str:
    nonce = _twice(r.nonce for r in told if isinstance(r, Observation))
    if nonce is not None:
        return f"nonce {nonce} was used by two requests"
    number = _twice(r.round for r in told if isinstance(r, Round))
    if number is not None:
        return f"two rounds have the number {number}"
    begun = {r.round for r in told if isinstance(r, Round)}
    for record in told:
        if isinstance(record, Observation | Look | RoundEnd) and record.round not in begun:
            return f"something was recorded of round {record.round}, which never began"
    return ""


def _twice(values: Iterable[Any]) -> Any:
    return next((value for value, count in Counter(values).items() if count > 1), None)


def _unfinished(recorded: RecordedStart) -> str:
    """A start that says it finished has an end to every round."""
    told = recorded.observations.records
    begun = {r.round for r in told if isinstance(r, Round)}
    ended = {r.round for r in told if isinstance(r, RoundEnd)}
    if recorded.info.finished and begun - ended:
        return f"round {min(begun - ended)} has no end, though the start says it finished"
    return ""
