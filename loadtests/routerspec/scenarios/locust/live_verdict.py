"""The run so far, judged while it goes on: what is proven already stays proven.

Decides how the files of a run that is still being made are closed, as copies, and how often. The
judge is ``routerspec judge``, in a process of its own. What is still open is missing in a copy, and
what is missing accuses nobody (a call whose client has no record yet, a round without an end): so
a violation of a copy is one of the run, and anything else is nothing yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec

from fake_providers.records.evidence import Call, Evidence, Footer, ListFetch
from routerspec.errors import RouterspecError
from routerspec.history import sweep
from routerspec.processes.control import Control
from routerspec.records.run import RunInfo, StartInfo

EVERY_S: Final = 5.0
"""Between two looks, at least."""
SHARE: Final = 0.2
"""Of the time: looking takes longer as the run grows, so it is done less often."""


class SoFar:
    """The verdicts of a run that goes on."""

    def __init__(self, control: Control, run: Path, info: RunInfo, start: StartInfo) -> None:
        """``run``: its folder, where the copies go below ``so-far``."""
        self._control = control
        self._observations = run / "starts" / start.name / "observations.jsonl"
        self._copy = run / "so-far"
        self._below = self._copy / "starts" / start.name
        self._info, self._start = info, start
        self.checks: list[dict[str, Any]] = []
        """The checks of the last verdict, as ``--format json`` has them."""
        self.at = ""
        """Wall time of the last verdict; empty: none yet."""

    def keep_looking(self) -> None:
        """Look again and again, until killed."""
        pause_s = EVERY_S
        while True:
            gevent.sleep(pause_s)
            began = time.monotonic()
            try:
                self.snapshot()
            except (RouterspecError, OSError, msgspec.DecodeError) as error:
                print(f"routerspec: not judged so far: {error}", file=sys.stderr)  # noqa: T201
            pause_s = max(EVERY_S, (time.monotonic() - began) / SHARE)

    def snapshot(self) -> None:
        """Copy what there is, and have the copy judged."""
        self._below.mkdir(parents=True, exist_ok=True)
        evidence = self._control.ledger()
        observations = self._observations.read_bytes()
        (self._below / "evidence.jsonl").write_bytes(closed_evidence(evidence))
        (self._below / "observations.jsonl").write_bytes(closed(observations, {}))
        (self._below / "start.json").write_bytes(msgspec.json.encode(self._start))
        (self._copy / "run.json").write_bytes(msgspec.json.encode(self._info))
        verdict = judged(self._copy)
        self.checks = verdict["checks"] if verdict else []
        self.at = time.strftime("%H:%M:%S")


def judged(run: Path) -> dict[str, Any] | None:
    """What the judge says of a run, as ``--format json`` has it; None: it said nothing."""
    command = [sys.executable, "-P", "-m", "routerspec", "judge", str(run), "--format", "json"]
    said = subprocess.run(command, capture_output=True, check=False).stdout
    try:
        verdict: dict[str, Any] = json.loads(said)
    except json.JSONDecodeError:
        return None
    return verdict


def closed_evidence(begun: bytes) -> bytes:
    """An evidence file that is still being written, closed with an account of what it has."""
    decode = msgspec.json.Decoder(Evidence).decode
    records = [decode(line) for line in whole_lines(begun)]
    calls = [record for record in records if isinstance(record, Call)]
    outer = [(call.read_ns, call.outer_end_ns) for call in calls]
    account = {
        "calls": len(calls),
        "list_fetches": sum(isinstance(record, ListFetch) for record in records),
        "peak_open": sweep.sweep(outer).peak,
        "open_ns": sum(end - start for start, end in outer),
    }
    return closed(begun, account)


def closed(begun: bytes, account: dict[str, int]) -> bytes:
    """A file of records that is still being written, without its last half line, and closed."""
    lines = whole_lines(begun)
    footer = Footer(records=len(lines) - 1, account=account, closed_ns=time.monotonic_ns())
    return b"\n".join([*lines, msgspec.json.encode(footer), b""])


def whole_lines(begun: bytes) -> list[bytes]:
    """The lines that end in a newline."""
    whole, _, _ = begun.rpartition(b"\n")
    return [line for line in whole.split(b"\n") if line.strip(b"\0")]
