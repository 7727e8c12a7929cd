"""The records of a made-up start, and its verdict: the only module here that knows their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from fake_providers.prompt import directives
from fake_providers.records import evidence
from fake_providers.records.ledger import Records
from routerspec.checks import REGISTRY
from routerspec.judge import judge
from routerspec.plan.starts import scenarios_only_on
from routerspec.promises import Cancel, Cap, ModelList, Promises, Retries
from routerspec.records import observations
from routerspec.records.run import (
    PATIENT_S,
    RecordedRun,
    RecordedStart,
    RouteInfo,
    RunInfo,
    Settings,
    StartInfo,
    read_run,
)
from routerspec.verdict import Kind, Verdict

__all__ = [
    "BASE_NS",
    "CHECKS",
    "MUSTS",
    "Cancel",
    "Cap",
    "ModelList",
    "Promises",
    "Retries",
    "Start",
    "Verdict",
    "read_run",
    "run_of",
    "verdict",
    "write",
]

BASE_NS = 10_000_000_000
CHECKS = tuple(
    check.id
    for check in REGISTRY.values()
    if check.promise in {Promises, Cap, ModelList, Cancel, Retries}
    and not set(check.played) <= scenarios_only_on("fidelity")
)
"""But for those that read bytes, of which the model makes none, and of promises that it has not."""
MUSTS = frozenset(id_ for id_ in CHECKS if REGISTRY[id_].kind is Kind.MUST)

Call = evidence.Call
ListFetch = evidence.ListFetch
Stall = evidence.Stall
Observation = observations.Observation
ListObservation = observations.ListObservation
Round = observations.Round
Held = observations.Held
Released = observations.Released
EpochMoved = observations.EpochMoved


def snapshot(
    *,
    round_: int,
    span: tuple[int, int, int],
    held: tuple[observations.Held, ...],
    open_: dict[str, int],
    waiting: tuple[int, ...],
    settled: bool,
) -> observations.Snapshot:
    """What the fakes held; ``span``: when they were asked, took it, and had answered."""
    asked_ns, at_ns, answered_ns = span
    return observations.Snapshot(
        round=round_,
        asked_ns=asked_ns,
        at_ns=at_ns,
        answered_ns=answered_ns,
        held=held,
        open=open_,
        waiting=waiting,
        settled=settled,
    )


def round_end(round_: int, at_ns: int) -> observations.RoundEnd:
    return observations.RoundEnd(round=round_, at_ns=at_ns, incident="")


def piece(nonce: int, provider: str, call: int, number: int) -> str:
    return directives.piece(nonce, provider, call, number)


def last_piece(token: str, nonce: int, provider: str, call: int, count: int) -> str:
    return directives.closing_piece(token, nonce, provider, call, count)


@dataclass(slots=True, kw_only=True)
class Start:
    """One start of the router while its history is being made up."""

    name: str
    token: str
    cap: int | None
    ttl_s: float | None
    workers: int = 1
    attempt: int = 1
    timeout_s: float = PATIENT_S
    router_exit: int | None = None
    evidence: list[Any] = field(default_factory=list)
    observations: list[Any] = field(default_factory=list)
    peak_open: int = 0

    def recorded(self) -> RecordedStart:
        return RecordedStart(
            info=self._info(),
            evidence=self._file("evidence", self.evidence),
            observations=self._file("observations", self.observations),
        )

    def _info(self) -> StartInfo:
        rounds = (r for r in self.observations if isinstance(r, Round))
        return StartInfo(
            name=self.name,
            token=self.token,
            attempt=self.attempt,
            settings=Settings(
                cap=self.cap,
                models_ttl_s=self.ttl_s,
                workers=self.workers,
                timeout_s=self.timeout_s,
            ),
            scenarios=tuple(dict.fromkeys(r.scenario for r in rounds)),
            finished=self.router_exit is None,
            router_exit=self.router_exit,
        )

    def _file(self, role: Literal["evidence", "observations"], lines: list[Any]) -> Records[Any]:
        calls = [line for line in lines if isinstance(line, Call)]
        account = {
            "calls": len(calls),
            "list_fetches": sum(isinstance(line, ListFetch) for line in lines),
            "peak_open": self.peak_open,
            "open_ns": sum(call.outer_end_ns - call.read_ns for call in calls),
        }
        header = evidence.Header(
            role=role,
            run=self.token,
            host="model",
            boot="boot-1",
            pid=1,
            started_ns=BASE_NS,
            started_at="2026-11-01T12:00:00.000+00:00",
        )
        footer = evidence.Footer(records=len(lines), account=account, closed_ns=BASE_NS)
        return Records(header=header, records=tuple(lines), footer=footer, fault="")


def run_of(
    *starts: Start, promises: Promises, routes: Mapping[str, tuple[str, ...]], seed: int
) -> RecordedRun:
    """A whole run in memory, asked for every check. ``routes``: name -> modes."""
    info = RunInfo(
        run="m",
        target="model",
        version="1.0",
        routerspec="0.1.0",
        command="python -m tests.judge.model",
        seed=seed,
        started_at="2026-11-01T12:00:00+00:00",
        promises=promises,
        routes=tuple(
            RouteInfo(name=name, front="openai", modes=modes, implied=False)
            for name, modes in routes.items()
        ),
        selected=CHECKS,
        starts=tuple(start.name for start in starts),
    )
    return RecordedRun(info=info, starts=tuple(start.recorded() for start in starts))


def verdict(run: RecordedRun) -> Verdict:
    return judge.judge(run)


def write(run: RecordedRun, folder: Path) -> None:
    """The run as ``routerspec judge`` reads it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(_pretty(run.info))
    for start in run.starts:
        its = folder / "starts" / start.info.name
        its.mkdir(parents=True)
        (its / "start.json").write_bytes(_pretty(start.info))
        for name in ("evidence", "observations"):
            file: Records[Any] = getattr(start, name)
            lines = (file.header, *file.records, file.footer)
            text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            (its / f"{name}.jsonl").write_bytes(text)


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
