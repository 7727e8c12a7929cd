"""The ledger: records survive, and missing ones are reported."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_providers.records import mapped as mapped_file
from fake_providers.records.evidence import Evidence, Header, Stall
from fake_providers.records.ledger import Ledger, LedgerError, boot_identity, read_records
from tests.fakes.wire import whole_lines

RECORD = Stall(at_ns=10, stalled_ns=3)
WRITER = """
import os, signal, sys
from pathlib import Path
from fake_providers.records.evidence import Stall
from fake_providers.records.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), role="evidence", run="k3", mapped=sys.argv[2] == "True")
for number in range(1000):
    ledger.append(Stall(at_ns=number, stalled_ns=1))
os.kill(os.getpid(), signal.SIGKILL)
"""


BOTH_WAYS = pytest.mark.parametrize("mapped", [False, True])


@BOTH_WAYS
def test_written_records_are_read_back(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="k3f9az", mapped=mapped)
    ledger.append(RECORD)
    ledger.append(RECORD)
    ledger.close({"calls": 0})
    back = read_records(path, Evidence)
    assert back.fault == ""
    assert back.records == (RECORD, RECORD)
    assert back.header is not None
    assert (back.header.run, back.header.role) == ("k3f9az", "evidence")
    assert back.header.pid == os.getpid()
    assert back.header.boot == boot_identity()
    assert back.footer is not None
    assert (back.footer.records, back.footer.account) == (2, {"calls": 0})
    assert back.footer.closed_ns >= back.header.started_ns


@BOTH_WAYS
def test_a_second_close_does_nothing(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="", mapped=mapped)
    ledger.close({})
    before = path.read_bytes()
    ledger.close({"calls": 1})
    assert path.read_bytes() == before


@BOTH_WAYS
def test_a_killed_writer_loses_no_record(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "evidence.jsonl"
    done = subprocess.run([sys.executable, "-c", WRITER, str(path), str(mapped)], check=False)
    assert done.returncode == -signal.SIGKILL
    back = read_records(path, Evidence)
    assert len(back.records) == 1000
    assert back.footer is None
    assert "truncated" in back.fault


def test_a_torn_last_line_is_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="")
    ledger.append(RECORD)
    ledger.close({})
    path.write_bytes(path.read_bytes()[:-20])
    back = read_records(path, Evidence)
    assert back.records == (RECORD,)
    assert back.footer is None
    assert back.fault == "evidence.jsonl: line 3 is broken"


@pytest.mark.parametrize(("lost", "put"), [(b"}\n{", b"}{"), (b"}\n{", b"} {"), (b",", b",\n")])
def test_records_that_are_not_one_per_line_are_reported(
    tmp_path: Path, lost: bytes, put: bytes
) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="")
    ledger.append(RECORD)
    ledger.append(RECORD)
    ledger.close({})
    head, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(head + b"\n" + rest.replace(lost, put, 1))
    assert read_records(path, Evidence).fault == "evidence.jsonl: line 2 is broken"


def test_a_lost_record_is_noticed_by_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="")
    ledger.append(RECORD)
    ledger.append(RECORD)
    ledger.close({})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert read_records(path, Evidence).fault == (
        "evidence.jsonl: its footer counts 2 records, it has 1"
    )


def test_a_missing_file_and_a_missing_header_are_reported(tmp_path: Path) -> None:
    assert "No such file" in read_records(tmp_path / "none.jsonl", Evidence).fault
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert read_records(empty, Evidence).fault == "empty.jsonl: no header"


@pytest.mark.parametrize("name", ["absent/evidence.jsonl", "there.jsonl"])
def test_an_error_names_the_path_that_cannot_be_created(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.jsonl").touch()
    with pytest.raises(LedgerError, match=name):
        Ledger(tmp_path / name, role="evidence", run="")


def test_an_existing_device_is_not_written_over() -> None:
    with pytest.raises(LedgerError, match="/dev/full"):
        Ledger(Path("/dev/full"), role="evidence", run="")


def test_a_full_disk_is_an_error_at_once_or_at_the_torn_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "evidence.jsonl", role="evidence", run="")
    size = (tmp_path / "evidence.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(LedgerError, match=r"Only 10 of \d+ bytes"):
            ledger.append(RECORD)
        with pytest.raises(LedgerError, match="File too large"):
            ledger.append(RECORD)
        with pytest.raises(LedgerError):
            ledger.close({})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "broken" in read_records(tmp_path / "evidence.jsonl", Evidence).fault


# -- a mapped file ---------------------------------------------------------------------------


def test_records_of_any_length_cross_from_one_window_into_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_file, "RESERVE_SIZES", (mmap.ALLOCATIONGRANULARITY,))
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="", mapped=True)
    kinds = [Header(**header_of("x" * size)) for size in (10, 4_000, 9_000, 100, 40_000, 1)]
    for number in range(300):
        ledger.append(kinds[number % len(kinds)])
        assert ledger.length == len(path.read_bytes().rstrip(b"\0"))
    ledger.close({})
    assert path.stat().st_size == ledger.length
    lines = path.read_bytes().splitlines()
    expected = [msgspec.json.encode(kinds[number % len(kinds)]) for number in range(300)]
    assert lines[1:-1] == expected


def header_of(run: str) -> dict[str, Any]:
    return {
        "role": "evidence",
        "run": run,
        "host": "h",
        "boot": "b",
        "pid": 1,
        "started_ns": 1,
        "started_at": "now",
    }


def test_a_mapped_file_that_is_open_ends_in_zeros_and_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="", mapped=True)
    ledger.append(RECORD)
    assert path.read_bytes().endswith(b"\0")
    assert len(whole_lines(path)) == 2
    back = read_records(path, Evidence)
    assert back.records == (RECORD,)
    assert back.fault == "evidence.jsonl: no footer, so it is truncated"
    ledger.close({})
    assert read_records(path, Evidence).fault == ""


def fill(ledger: Ledger) -> None:
    for _ in range(10_000):
        ledger.append(RECORD)


def test_a_full_disk_keeps_every_record_that_a_mapped_file_took(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * mmap.ALLOCATIONGRANULARITY, hard))
    try:
        ledger = Ledger(path, role="evidence", run="", mapped=True)
        with pytest.raises(LedgerError, match="cannot be written: File too large"):
            fill(ledger)
        taken = ledger.records
        with pytest.raises(LedgerError):
            ledger.append(RECORD)
        with pytest.raises(LedgerError):
            ledger.close({})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    back = read_records(path, Evidence)
    assert len(back.records) == taken > 100
    assert back.footer is None


def test_where_no_room_can_be_reserved_each_record_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="", mapped=True)
    ledger.append(RECORD)
    assert path.stat().st_size == ledger.length
    ledger.close({})
    assert read_records(path, Evidence).fault == ""
