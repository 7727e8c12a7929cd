"""The fakes as a process that by turns records and does not, for ``fakes``.

    python bench_switched.py FOLDER PORT CALLS

Two processes of the same code differ by more than recording costs (where their memory came to
lie, say), so one process is held against itself: of each four turns of CALLS the outer
ones are recorded. It prints where it listens by ``FOLDER/announce.json`` and leaves the
nanoseconds of the processor of each turn in ``FOLDER/turns.json``: a list of (recorded, ns).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fake_providers import server
from fake_providers.calls.recorder import Recorder


class ByTurns(Recorder):
    """A recorder whose ledger comes and goes."""

    def __init__(self, folder: Path, calls: int, given: dict[str, Any]) -> None:
        super().__init__(**given)
        self._folder = folder
        self._calls = calls
        self._kept = self._ledger
        self._ended = 0
        self._begun_ns = time.process_time_ns()
        self._turns: list[tuple[bool, int]] = []

    def close(self) -> None:
        """Write the measurements. The file of records has gaps, and so no footer."""
        self._ledger = None
        super().close()
        (self._folder / "turns.json").write_text(json.dumps(self._turns))

    def _write(self, record: msgspec.Struct) -> None:
        super()._write(record)
        self._ended += 1
        if self._ended % self._calls:
            return
        self._turns.append((self._ledger is not None, time.process_time_ns() - self._begun_ns))
        turn = self._ended // self._calls
        self._ledger = self._kept if turn % 4 in {0, 3} else None
        self._begun_ns = time.process_time_ns()


def main(folder: Path, port: int, calls: int) -> int:
    """Serve until stopped. Returns the exit status."""
    vars(server)["Recorder"] = lambda **given: ByTurns(folder, calls, given)
    settings = server.Settings(
        openai_port=port,
        ollama_port=0,
        control_port=0,
        ledger=folder / "evidence.jsonl",
        run="bench",
        announce=folder / "announce.json",
    )
    return server.run(settings)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
