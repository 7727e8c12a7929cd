"""A ledger that is read in slices says what it says when it is read at once, faults and all."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import pytest

from fake_providers.records import ledger
from routerspec.records import readers
from tests.records.test_columns import files

LINES: Final = 3
"""About so many lines are a slice."""


def role_of(path: Path) -> readers.Role:
    return "evidence" if path.stem.startswith("evidence") else "observations"


def plain(path: Path) -> ledger.Records[Any]:
    kinds = readers.KINDS[role_of(path)]
    return ledger.read_records(path, kinds.union, expendable=kinds.expendable)


def same(one: ledger.Records[Any], other: ledger.Records[Any]) -> bool:
    parts = (
        (its.header, list(its.records), its.footer, its.fault, its.lost) for its in (one, other)
    )
    return next(parts) == next(parts)


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> int:
    """So many read every ledger, however small."""
    monkeypatch.setattr(readers, "LARGE", 0)
    monkeypatch.setattr(readers, "_processors", lambda: 2)
    return 2


def slices_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = path.read_bytes()
    monkeypatch.setattr(readers, "SLICE", max(LINES * len(raw) // (raw.count(b"\n") + 1), 1))


def damaged(path: Path, folder: Path) -> list[Path]:
    """The ledger, and as it is with each kind of fault."""
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    ways = {
        "whole": lines,
        "truncated": lines[:-1],
        "cut in a line": [*lines[:-1], lines[-1][:9]],
        "broken": [*lines[:middle], b"{}\n", *lines[middle:]],
        "lost": [*lines[:middle], b'{"kind":"observation",\n', *lines[middle:]],
        "two in one": [*lines, *lines],
        "not closed": [*lines[:-1], bytes(4000)],
        "empty": [],
    }
    found = []
    for name, its in ways.items():
        (folder / name).mkdir()
        found.append(folder / name / path.name)
        found[-1].write_bytes(b"".join(its))
    return found


def some() -> list[Path]:
    """A ledger of each role, neither short nor long."""
    by_size = sorted(files(), key=lambda path: path.stat().st_size)
    of_role = ([its for its in by_size if role_of(its) == role] for role in readers.KINDS)
    return [ledgers[len(ledgers) // 2] for ledgers in of_role]


@pytest.mark.parametrize("path", some(), ids=lambda path: path.stem)
def test_the_slices_of_a_ledger_are_the_ledger(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_processors", lambda: 1)
    for its in damaged(path, tmp_path):
        slices_of(its, monkeypatch)
        expected = plain(its)
        read, digest = readers.read(its, role_of(its), "k3")
        assert same(read, expected), its
        assert expected.fault or expected.lost or digest == readers.digest(its)


@pytest.mark.parametrize("path", some(), ids=lambda path: path.stem)
def test_what_two_readers_write_is_the_ledger(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(readers, "_reader", written)
    for its in damaged(path, tmp_path):
        slices_of(its, monkeypatch)
        read, digest = readers._joined(its, role_of(its), "k3", its.stat().st_size, processors)
        assert same(read, plain(its)), its
        assert digest == readers.digest(its) or read.fault or read.lost


@contextlib.contextmanager
def written(path: Path, role: readers.Role, run: str, *parts: int) -> Iterator[IO[bytes]]:
    """What a reader writes, without a process of its own."""
    output = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(output, write_through=True)) as stream:
        readers.main(str(path), role, run, *map(str, parts))
        stream.detach()
    output.seek(0)
    yield output


def test_two_processes_read_a_ledger(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    path = some()[1]
    slices_of(path, monkeypatch)
    read, _ = readers._joined(path, role_of(path), "k3", path.stat().st_size, processors)
    assert same(read, plain(path))


@pytest.mark.usefixtures("processors")
def test_where_no_reader_starts_the_ledger_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    for path in some():
        assert same(readers.read(path, role_of(path), "k3")[0], plain(path))
