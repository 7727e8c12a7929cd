"""A run of plain Locust, judged by ``routerspec judge``: at its end, and while it goes on.

The judge is a process of its own. While the run goes on, its files are copied, and the copies
closed and judged. Requests in flight are missing from a copy, and a missing record never accuses
(a call whose client has no record yet, a round without an end): so a violation in a copy is a
violation of the run, and any other outcome is preliminary.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec

from fake_providers.records.evidence import Call, Evidence, Footer, ListFetch
from fake_providers.records.ledger import FOOTER
from routerspec.errors import RouterspecError
from routerspec.history import sweep
from routerspec.judge import verdict_json
from routerspec.processes import own_code
from routerspec.processes.control import Control
from routerspec.processes.control_group import ControlGroup
from routerspec.records.load_processes import observations_file
from routerspec.records.run import RunInfo, StartInfo, evidence_file

EVERY_S: Final = 5.0
"""Between two verdicts, at least."""
SHARE: Final = 0.2
"""Of the time may be spent judging: as the run grows and judging takes longer, it is done less."""
EXIT_NOT_JUDGED: Final = 4
_EXIT_CODES: Final = range(EXIT_NOT_JUDGED + 1)
"""Of the judge."""


class LiveVerdict:
    """The verdict on a run that is still going on."""

    def __init__(
        self,
        control: Control | ControlGroup,
        run: Path,
        info: RunInfo,
        started: Callable[[], StartInfo],
    ) -> None:
        """``run``: its folder, in which the copies go to ``so-far``. ``started``: its start as it
        is now.
        """
        self._control = control
        self._run = run
        self._copy = run / "so-far"
        self._info, self._started = info, started
        self.checks: list[dict[str, Any]] = []
        """The checks of the last verdict, as in ``--format json``."""
        self.at = ""
        """Wall-clock time of the last verdict; empty: none yet."""

    def run(self) -> None:
        """Judge again and again, until killed."""
        pause_s = EVERY_S
        while True:
            gevent.sleep(pause_s)
            began = time.monotonic()
            try:
                self.update()
            except (RouterspecError, OSError, msgspec.DecodeError) as error:
                print(f"routerspec: not judged yet: {error}", file=sys.stderr)  # noqa: T201
            pause_s = max(EVERY_S, (time.monotonic() - began) / SHARE)

    def update(self) -> None:
        """Copy the files as they are now, and have the copy judged."""
        start = self._started()
        below = self._copy / "starts" / start.name
        below.mkdir(parents=True, exist_ok=True)
        copies = self._control.ledgers(closed=False)
        for name, evidence in copies.items():
            (below / evidence_file(name)).write_bytes(closed_evidence(evidence))
        for process in (0, *start.load_processes):
            file = observations_file(process)
            observations = (self._run / "starts" / start.name / file).read_bytes()
            (below / file).write_bytes(closed(observations, {}))
        (below / "start.json").write_bytes(msgspec.json.encode(start))
        (self._copy / "run.json").write_bytes(msgspec.json.encode(self._info))
        verdict = judged(self._copy)
        self.checks = verdict["checks"] if verdict else []
        self.at = time.strftime("%H:%M:%S")


def judged(run: Path) -> dict[str, Any] | None:
    """The verdict on a run, as ``--format json`` prints it; None where the judge printed none."""
    command = own_code.own_python("-m", "routerspec", "judge", str(run), "--format", "json")
    env = own_code.own_environment()
    printed = subprocess.run(command, env=env, capture_output=True, check=False).stdout
    try:
        verdict: dict[str, Any] = json.loads(printed)
    except json.JSONDecodeError:
        return None
    failures = verdict.get("smoke_failures", ())
    for check in verdict["checks"]:
        check["reason"] = verdict_json.full_reason(check["reason"], failures)
    return verdict


def judge_status(folder: Path) -> int:
    """Have the run in ``folder`` judged by a process of its own; what it came to, as an exit code.

    A status that is none of the judge's (a signal: negative, no memory, a broken installation)
    is "not judged".
    """
    command = own_code.own_python("-m", "routerspec", "judge", str(folder))
    status = subprocess.run(command, env=own_code.own_environment(), check=False).returncode
    if status in _EXIT_CODES:
        return status
    print(  # noqa: T201
        f"routerspec: the judge ended with status {status}: not judged. Judge the run with "
        f"`routerspec judge {folder}`.",
        file=sys.stderr,
    )
    return EXIT_NOT_JUDGED


def closed_evidence(unfinished: bytes) -> bytes:
    """An evidence file that is still being written, closed with an account of its records."""
    decode = msgspec.json.Decoder(Evidence).decode
    records = [decode(line) for line in whole_lines(unfinished)]
    calls = [record for record in records if isinstance(record, Call)]
    outer = [(call.read_ns, call.outer_end_ns) for call in calls]
    account = {
        "calls": len(calls),
        "list_fetches": sum(isinstance(record, ListFetch) for record in records),
        "peak_open": sweep.sweep(outer).peak,
        "open_ns": sum(end - start for start, end in outer),
    }
    return closed(unfinished, account)


def closed(unfinished: bytes, account: dict[str, int]) -> bytes:
    """A file of records that is still being written, closed after its last whole line."""
    lines = whole_lines(unfinished)
    if lines and lines[-1].startswith(FOOTER):
        return unfinished
    footer = Footer(records=len(lines) - 1, account=account, closed_ns=time.monotonic_ns())
    return b"\n".join([*lines, msgspec.json.encode(footer), b""])


def whole_lines(unfinished: bytes) -> list[bytes]:
    """The lines that end in a newline."""
    whole, _, _ = unfinished.rpartition(b"\n")
    return [line for line in whole.split(b"\n") if line.strip(b"\0")]
