"""``timings.json``: where the seconds of a run went. Nothing is judged by it.

All moments are seconds since the run began.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from routerspec.errors import UsageError
from routerspec.records import foreign

NAME: Final = "timings.json"


class ScenarioTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of a start, with the pauses after its last round."""

    name: str
    from_s: float
    until_s: float


class StartTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One start: it waits for its turn, starts up, waits for the machine, plays, and stops."""

    name: str
    turn_s: float
    """It begins to start up."""
    up_s: float
    """Fakes and router are ready."""
    machine_s: float
    """The load begins to start up: later than ``up_s`` where the start plays alone."""
    playing_s: float
    """The first round begins."""
    over_s: float
    """The load has ended."""
    stopped_s: float
    """All of its processes have ended."""
    scenarios: tuple[ScenarioTimes, ...] = ()
    cpu_s: dict[str, float] = {}
    """``fakes``, ``load`` and ``router`` -> processor seconds; without those that are unknown."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    format: int = 1
    seconds: float
    """From its beginning to its verdict."""
    judging_s: float
    """Reading and judging, as a part of that."""
    cpu_s: float
    """Processor seconds of ``verify`` itself."""
    processors: int
    starts: tuple[StartTimes, ...]


def write(folder: Path, timings: Timings) -> None:
    """Write the file into a run's folder. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(timings), indent=1)
    (folder / NAME).write_bytes(text + b"\n")


def read(folder: Path) -> Timings:
    """Read the file of a run. Raises UsageError where it has none, or one that nobody wrote."""
    path = folder / NAME
    if not path.exists():
        raise UsageError(
            f"{folder} has no {NAME}: it was made by an older routerspec. Make a new run with "
            "`routerspec verify --timings`."
        )
    timings = foreign.read_record(Timings, folder, NAME)
    foreign.within_reason(msgspec.structs.replace(timings, starts=()), path)
    for start in timings.starts:
        foreign.start_name(start.name, path)
        foreign.within_reason(msgspec.structs.replace(start, scenarios=()), path)
        for scenario in start.scenarios:
            foreign.start_name(scenario.name, path)
            foreign.within_reason(scenario, path)
        for name in start.cpu_s:
            foreign.start_name(name, path)
    return timings
