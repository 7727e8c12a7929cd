"""A ledger read into columns: slice by slice, and by several processes where it is large.

A reader is this module, run by itself. It writes every n-th slice to its standard output, packed
(``packing``), and the slices are joined in the order of the file. Where a reader fails in any way,
the ledger is read by this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from fake_providers.records import ledger
from fake_providers.records.evidence import Evidence
from routerspec.records import observations, packing
from routerspec.records.columns import Packed

LARGE: Final = 64 << 20
"""Bytes that take longer to read than readers take to start."""
SLICE: Final = 16 << 20
"""Lines that begin in so many bytes are a slice."""
MOST: Final = 8
"""Readers: one process joins what they read."""

Role = Literal["evidence", "observations"]

_LENGTH: Final = 8
"""Bytes that say how many follow."""


class Kinds(NamedTuple):
    """What a ledger holds."""

    union: Any
    expendable: tuple[bytes, ...]
    """How the lines begin that may be broken."""


KINDS: Final[dict[Role, Kinds]] = {
    "evidence": Kinds(Evidence, ()),
    "observations": Kinds(observations.Record, observations.EXPENDABLE),
}


class _Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader says of a slice. Its records follow."""

    passed: int
    lost: list[int]
    broken: int
    digest: bytes


class _ReaderFailedError(Exception):
    """A reader ended before it had written all of its slices."""


def read(path: Path, role: Role, run: str) -> tuple[ledger.Records[Any], bytes]:
    """(the records of a ledger, packed; the ``digest`` of the bytes that they were read from).

    ``run``: the token of the start. Raises ValueError, OverflowError or RecursionError for records
    that are none of ours; any other fault is in ``Records.fault``.
    """
    size = _size(path)
    count = min(_processors(), MOST)
    if count > 1 and size >= LARGE:
        with contextlib.suppress(_ReaderFailedError, OSError):
            return _joined(path, role, run, size, count)
    reading = ledger.Reading(Packed(run))
    digests = hashlib.sha256()
    fault = ""
    try:
        for part in _slices(size, SLICE):
            digests.update(_read_slice(reading, path, role, part))
            if reading.broken:
                break
    except OSError as error:
        fault = f"{path.name}: {error.strerror or error}"
    return reading.done(path, fault), digests.digest()


def digest(path: Path) -> bytes:
    """The SHA-256 of the SHA-256 of every slice; empty where the file cannot be read."""
    digests = hashlib.sha256()
    at = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            for part in _slices(size, SLICE):
                lines = file.read(max(min(part.stop, size) - at, 0))
                if lines and not lines.endswith(b"\n"):
                    lines += file.readline()
                at += len(lines)
                digests.update(hashlib.sha256(lines).digest())
    except OSError:
        return b""
    return digests.digest()


def main(path: str, role: Role, run: str, *parts: str) -> None:
    """Write slices of a ledger to the standard output.

    ``parts``: its bytes, those of a slice, the first of the slices to write, and their distance.
    """
    size, length, first, step = map(int, parts)
    for part in _slices(size, length)[first::step]:
        reading = ledger.Reading(Packed(run))
        its_digest = _read_slice(reading, Path(path), role, part)
        said = _Slice(
            passed=reading.passed, lost=reading.lost, broken=reading.broken, digest=its_digest
        )
        for content in (msgspec.msgpack.encode(said), b"".join(packing.pack(reading))):
            sys.stdout.buffer.write(len(content).to_bytes(_LENGTH, "little") + content)
        sys.stdout.buffer.flush()


def _joined(
    path: Path, role: Role, run: str, size: int, count: int
) -> tuple[ledger.Records[Any], bytes]:
    """The same, read by so many readers. Raises _ReaderFailedError and OSError."""
    reading = ledger.Reading(Packed(run))
    digests = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(_reader(path, role, run, size, SLICE, first, count))
            for first in range(count)
        ]
        for index in range(len(_slices(size, SLICE))):
            output = readers[index % count]
            said = msgspec.msgpack.decode(_content(output).data, type=_Slice)
            part = packing.unpack(_content(output), KINDS[role].union, run, size)
            part.passed, part.lost, part.broken = said.passed, said.lost, said.broken
            digests.update(said.digest)
            reading.join(part)
            if reading.broken:
                break
    return reading.done(path), digests.digest()


@contextlib.contextmanager
def _reader(*arguments: object) -> Iterator[IO[bytes]]:
    """The output of a new reader, which is killed at the end."""
    rooms = [str(Path(its or "").resolve().parents[2]) for its in (ledger.__file__, __file__)]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join((*rooms, *filter(None, [os.environ.get("PYTHONPATH")])))
    }
    reader = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, *map(str, arguments)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert reader.stdout is not None
    try:
        yield reader.stdout
    finally:
        reader.kill()
        reader.stdout.close()
        reader.wait()


def _content(output: IO[bytes]) -> packing.Bytes:
    """What a reader wrote next. Raises _ReaderFailedError."""
    length = int.from_bytes(_read_exactly(output, _LENGTH).tobytes(), "little")
    return _read_exactly(output, length)


def _read_exactly(output: IO[bytes], length: int) -> packing.Bytes:
    content = np.empty(length, np.uint8)
    got = 0
    while got < length:
        some: int = output.readinto(content.data[got:])  # type: ignore[attr-defined]
        if not some:
            raise _ReaderFailedError
        got += some
    return content


def _read_slice(reading: ledger.Reading, path: Path, role: Role, part: range) -> bytes:
    """Read the slice of these bytes; its digest. Raises OSError."""
    passed = hashlib.sha256()
    lines = reading.lines(
        path,
        KINDS[role].union,
        begin=part.start,
        until=part.stop,
        expendable=KINDS[role].expendable,
        on_read=passed.update,
    )
    for records in lines:
        reading.add(records)
    return passed.digest()


def _slices(size: int, length: int) -> list[range]:
    """The bytes of each slice of a file of so many, the last with whatever follows."""
    begins = range(0, max(size, 1), length)
    return [*(range(at, at + length) for at in begins[:-1]), range(begins[-1], sys.maxsize)]


def _size(path: Path) -> int:
    """Bytes of the ledger; 0 where there is none, or a compressed copy."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _processors() -> int:
    """How many may be used."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
