"""How close to one instant the requests of stampedes and bursts are complete, over load processes.

    python -m tests.benchmarks.alignment [PROCESSES...]     0 2 4 by default; 0: one makes all
    python -m tests.benchmarks.alignment RUN...             of runs that there are

For each round: its requests, and in ms the time from the first last byte to the last, to the last
of nine in ten, and between the medians of the load processes. Clients of one clock only.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from routerspec.records.columns import Packed
from routerspec.records.load_processes import process_of
from routerspec.records.observations import ListObservation, Round
from routerspec.records.run import RecordedStart, read_run
from tests.support.cli import routerspec

AT_ONCE: Final = frozenset({"list-cold", "list-expiry", "burst"})


def moments(start: RecordedStart) -> Iterator[tuple[Round, dict[int, list[int]]]]:
    """Each round of requests at one instant, with load process -> when each was complete, in ns."""
    sent: defaultdict[int, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    rounds: list[Round] = []
    for its in start.observation_files.values():
        packed = Packed.of(its.records, start.info.token)
        rounds += [r for r in packed.others if isinstance(r, Round) and r.scenario in AT_ONCE]
        lists = [r for r in packed.others if isinstance(r, ListObservation)]
        for each in (*lists, *packed.clients):
            number = each.request if isinstance(each, ListObservation) else each.nonce
            if each.sent_ns is not None:
                sent[each.round][process_of(number)].append(each.sent_ns)
    for round_ in rounds:
        if sent[round_.round]:
            yield round_, sent[round_.round]


def line(round_: Round, sent: dict[int, list[int]]) -> str:
    together = sorted(ns for its in sent.values() for ns in its)[: round_.offered]
    medians = [statistics.median(its) for its in sent.values()]
    spread = (together[-1], together[int(0.9 * (len(together) - 1))])
    last, most = ((ns - together[0]) / 1e6 for ns in spread)
    between = (max(medians) - min(medians)) / 1e6
    return (
        f"  {round_.scenario:<12} {len(together):>4} requests of {len(sent)} processes: "
        f"all within {last:6.2f} ms, nine in ten within {most:6.2f}, medians {between:5.2f} apart"
    )


def show(folder: Path) -> None:
    for start in read_run(folder).starts:
        for round_, sent in moments(start):
            print(line(round_, dict(sent)))


def main() -> None:
    words = sys.argv[1:] or ["0", "2", "4"]
    for word in words:
        if not word.isdigit():
            show(Path(word))
            continue
        print(f"--load-processes {word}")
        with tempfile.TemporaryDirectory() as folder:
            checks = ("--only", "models/one-fetch,cap/burst")
            got = routerspec(
                "verify", *checks, "--load-processes", word, "--format", "json", cwd=Path(folder)
            )
            print(f"  exit code {got.status}")
            for run in sorted(Path(folder).glob(".routerspec/runs/*/")):
                show(run)


if __name__ == "__main__":
    main()
