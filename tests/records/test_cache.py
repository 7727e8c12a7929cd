"""Columns of a ledger that was read before: equal to the ledger, or not believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_providers.records import ledger
from fake_providers.records.evidence import Call, Footer, ListFetch, Stall
from routerspec.judge.judge import judge
from routerspec.records import cache, packing, readers
from routerspec.records.columns import Packed
from routerspec.records.observations import Observation
from routerspec.records.run import read_run
from tests.corpus.builder import Start, write_run
from tests.records.test_columns import RUN, calls, clients, files, others

CHECK: Final = "cap/each-route"
KINDS: Final = Call | Observation | Stall | ListFetch
HEADER: Final = ledger.header(role="evidence", run=RUN)
MANY: Final = 1 << 40


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where columns of every ledger, however small, are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SMALLEST", 0)
    return tmp_path / "cache" / "routerspec" / "columns"


@pytest.fixture
def ledgers_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the ledgers that were read line by line."""
    names: list[str] = []
    read = readers.read

    def counted(path: Path, role: readers.Role, run: str) -> tuple[ledger.Records[Any], bytes]:
        names.append(path.name)
        return read(path, role, run)

    monkeypatch.setattr(readers, "read", counted)
    return names


def broken_cap(folder: Path, *, held: int = 4) -> Path:
    """A run with so many calls held at once where three are promised."""
    start = Start("one", token="k0")
    start.held_round("hold-head", 0, held=held, settled=False)
    write_run(folder, start, selected=(CHECK,))
    return folder


def outcome(folder: Path) -> str:
    return judge(read_run(folder)).checks[0].outcome.value


def as_read(records: list[Any]) -> ledger.Reading:
    footer = Footer(records=len(records), account={"calls": 1}, closed_ns=1)
    return ledger.Reading(Packed.of(records, RUN), HEADER, footer)


def packed_bytes(records: list[Any]) -> bytes:
    return b"".join(packing.pack(as_read(records)))


def unpacked(raw: bytes) -> ledger.Reading:
    return packing.unpack(np.frombuffer(raw, np.uint8), KINDS, RUN, MANY)


@given(st.lists(st.one_of(calls(), clients(), others), max_size=12))
def test_what_is_packed_comes_out_again(records: list[Any]) -> None:
    its = unpacked(packed_bytes(records))
    before, after = Packed.of(records, RUN), its.store
    assert isinstance(after, Packed)
    assert list(after) == records
    assert (its.first, its.last) == (HEADER, as_read(records).last)
    every = np.arange(len(before.clients))
    assert after.clients.answers(every).tolist() == before.clients.answers(every).tolist()
    assert after.calls.batches == before.calls.batches
    for old, new in ((before.calls, after.calls), (before.clients, after.clients)):
        for name in old.fields:
            assert new.numbers(name).tolist() == old.numbers(name).tolist()
            assert new.numbers(name).dtype == old.numbers(name).dtype


@given(st.lists(st.one_of(calls(), clients()), min_size=1, max_size=4), st.data())
def test_whatever_is_changed_in_packed_records_is_an_error_or_records(
    records: list[Any], data: st.DataObject
) -> None:
    """Whoever can write the digest as well ends no process, and takes no memory."""
    raw = bytearray(packed_bytes(records))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(raw))))
    try:
        its = unpacked(bytes(raw[:cut]))
    except ValueError:
        return
    assert isinstance(its.store, Packed)
    assert len(list(its.store)) == len(its.store)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"calls":{"size":1', b'"calls":{"size":9000000000000000'),
        (b'"calls":{"size":1', b'"calls":{"size":-1'),
        (b'"size":2', b'"size":9000000000000000'),
        (b'"call":1,', b'"call":null,'),
        (b'"provider":0', b'"provider":1'),
        (b'"provider":0', b'"provider":-1'),
        (b'"read_ns":', b'"read_ns":9000000000000000000000,"x":'),
        (b'"provider":["openai"]', b'"provider":["openai","openai"]'),
        (b'"provider":["openai"]', b'"provider":[["openai"]]'),
        (b'"family":["chat"]', b'"family":["gossip"]'),
        (b'"batches":[]', b'"batches":[[0,[1,2]]]'),
        (b'"unusual":[]', b'"unusual":[[7,{"canaries":["x"]}]]'),
        (b'"unusual":[]', b'"unusual":[[0,{"provider":"x"}]]'),
        (b'"unusual":[]', b'"unusual":[[0,{"canaries":1}]]'),
        (b'"others":', b'"others":9'),
    ],
)
def test_a_head_that_says_what_cannot_be_is_an_error(old: bytes, new: bytes) -> None:
    start = Start("one", token=RUN)
    records = [start.call(1, read=0, end=1), Stall(at_ns=1, stalled_ns=1)]
    raw = packed_bytes(records)
    head = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    changed = head.replace(old, new, 1)
    assert changed != head
    body = raw[8 + len(head) + -len(head) % 8 :]
    padded = changed + bytes(-len(changed) % 8)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        unpacked(len(changed).to_bytes(8, "little") + padded + body)


def test_a_ledger_is_read_once(kept: Path, ledgers_read: list[str], tmp_path: Path) -> None:
    folder = broken_cap(tmp_path / "run")
    first = judge(read_run(folder))
    assert len(ledgers_read) == len(list(kept.iterdir())) == 2
    assert kept.stat().st_mode & 0o777 == 0o700
    moved = folder.rename(tmp_path / "elsewhere")
    assert judge(read_run(moved)) == first
    assert len(ledgers_read) == 2


def test_the_corpus_is_judged_the_same_from_columns(
    kept: Path, ledgers_read: list[str], tmp_path: Path
) -> None:
    for path in files():
        role: readers.Role = "evidence" if path.stem == "evidence" else "observations"
        plain = ledger.read_records(path, readers.KINDS[role].union)
        token = plain.header.run if plain.header else ""
        for _ in range(2):
            its = cache.read(path, role, token)
            assert list(its.records) == list(plain.records), path
            assert (its.header, its.footer, its.fault, its.lost) == (
                plain.header,
                plain.footer,
                plain.fault,
                plain.lost,
            )
    assert list(kept.iterdir())
    assert len(ledgers_read) < 3 * len(list(files()))


def test_columns_belong_to_every_byte_of_their_ledger(
    kept: Path, ledgers_read: list[str], tmp_path: Path
) -> None:
    """Its length and its time say nothing."""
    folder = broken_cap(tmp_path / "run")
    assert outcome(folder) == "violated"
    path = folder / "starts" / "one" / "evidence.jsonl"
    was = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"run":"k0"', b'"run":"k1"'))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size
    assert outcome(folder) != "violated"
    assert ledgers_read.count("evidence.jsonl") == 2


def test_nothing_is_kept_of_a_ledger_with_a_fault(kept: Path, tmp_path: Path) -> None:
    folder = broken_cap(tmp_path / "run")
    for path in folder.glob("starts/one/*.jsonl"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    outcome(folder)
    assert not list(kept.iterdir())


def changes(raw: bytes, other: bytes) -> Iterator[bytes]:
    """A kept file with something wrong in it."""
    yield b""
    yield raw[:-1]
    yield raw[: len(raw) // 2]
    yield raw + b"\0"
    yield other
    for at in range(0, len(raw), 97):
        yield raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def test_kept_columns_with_anything_wrong_in_them_are_not_believed(
    kept: Path, ledgers_read: list[str], tmp_path: Path
) -> None:
    folder = broken_cap(tmp_path / "run")
    expected = judge(read_run(folder))
    paths = sorted(kept.iterdir())
    for path, other in zip(paths, reversed(paths), strict=True):
        raw = path.read_bytes()
        for number, changed in enumerate(changes(raw, other.read_bytes())):
            path.write_bytes(changed)
            before = len(ledgers_read)
            if number % 20 == 0:
                assert judge(read_run(folder)) == expected
            else:
                read_run(folder)
            assert len(ledgers_read) == before + 1
            assert path.read_bytes() == raw  # it was kept again


def test_an_entry_of_an_earlier_version_is_not_believed(
    kept: Path, ledgers_read: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = broken_cap(tmp_path / "run")
    read_run(folder)
    monkeypatch.setattr(cache, "_version", lambda: "another")
    read_run(folder)
    assert len(ledgers_read) == 4


@pytest.mark.parametrize("how", ["link", "folder", "fifo"])
def test_an_entry_that_is_no_file_is_not_followed(
    how: str, kept: Path, ledgers_read: list[str], tmp_path: Path
) -> None:
    folder = broken_cap(tmp_path / "run")
    expected = judge(read_run(folder))
    for path in list(kept.iterdir()):
        aside = tmp_path / path.name
        path.rename(aside)
        if how == "link":
            path.symlink_to(aside)
        elif how == "folder":
            path.mkdir()
        else:
            os.mkfifo(path)
    assert judge(read_run(folder)) == expected
    assert len(ledgers_read) == 4


@pytest.mark.parametrize("how", ["for all", "a link", "a file", "relative", "not to be made"])
def test_a_folder_that_is_not_ours_alone_is_not_used(
    how: str,
    kept: Path,
    ledgers_read: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = broken_cap(tmp_path / "run")
    expected = judge(read_run(folder))
    if how == "for all":
        kept.chmod(0o777)
    elif how == "a link":
        kept.symlink_to(kept.rename(tmp_path / "aside"))
    elif how == "a file":
        shutil.rmtree(kept)
        kept.write_text("")
    elif how == "relative":
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", "cache")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert judge(read_run(folder)) == expected
    assert len(ledgers_read) == 4


def test_what_was_not_used_for_longest_goes_first(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (broken_cap(tmp_path / str(held), held=held) for held in (4, 5))
    read_run(first)
    old = {path.name: path.stat().st_size for path in kept.iterdir()}
    for name in old:
        os.utime(kept / name, (1, 1))
    monkeypatch.setattr(cache, "MOST", 2 * sum(old.values()) - 1)
    read_run(second)
    left = {path.name for path in kept.iterdir()}
    assert len(left) == 3
    assert len(left & old.keys()) == 1


def test_code_without_its_source_keeps_nothing(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a zip file: then nothing says which code made an entry."""
    monkeypatch.setattr(packing, "__file__", str(tmp_path / "packing.py"))
    cache._version.cache_clear()
    assert outcome(broken_cap(tmp_path / "run")) == "violated"
    cache._version.cache_clear()
    assert not kept.exists()


def test_a_full_disk_is_no_fault(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert outcome(broken_cap(tmp_path / "run")) == "violated"
    assert not list(kept.iterdir())
