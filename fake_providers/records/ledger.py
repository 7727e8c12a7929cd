"""The ledger: an append-only file of records, one JSON line each, written by one process.

Every line is one ``write(2)``, or is copied into the file itself (``mapped``): either way it
survives ``kill -9``. A file that was closed properly ends in a footer with the writer's own
account; a file without one is truncated, never short.
"""

from __future__ import annotations

import io
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from fake_providers.records.evidence import Footer, Header
from fake_providers.records.mapped import CannotBeMapped, MappedFile

T = TypeVar("T")

FOOTER: Final = b'{"kind":"footer",'
"""How a footer's line begins."""

READ_SIZE: Final = 384 * 1024
"""Bytes of a file that are read at once; the rest of the last line follows."""


_INITIAL_TIME: Final = "time:[4026531834]"
"""The time namespace of a machine itself, by the kernel's own constant."""


class LedgerError(OSError):
    """The file cannot be written: the message names the path and the reason."""


class Ledger:
    """An open file of records. Not shared between threads or processes."""

    def __init__(
        self,
        path: Path,
        *,
        role: Literal["evidence", "observations"],
        run: str,
        mapped: bool = False,
    ) -> None:
        """Create ``path`` (which must not exist) and write the header.

        ``mapped``: the file is written as memory where the system can map it, without a system
        call per record. It then ends in zero bytes until it is closed. Raises LedgerError when it
        cannot be created or written.
        """
        self.path = path
        self.records = 0
        self._length = 0
        self._encode = msgspec.json.Encoder().encode
        self._mapped: MappedFile | None = None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise LedgerError(f"The ledger {path} cannot be created: {error.strerror}.") from error
        if mapped:
            self._map()
        self._write(header(role=role, run=run))

    @property
    def length(self) -> int:
        """Bytes written so far."""
        return self._length if self._mapped is None else self._mapped.length

    def append(self, record: msgspec.Struct) -> None:
        """Write one record. Raises LedgerError when the whole line cannot be written."""
        if self._mapped is None:
            self._write(record)
        else:
            try:
                self._mapped.append(self._encode(record))
            except OSError as error:
                raise self._write_error(error) from error
        self.records += 1

    def close(self, account: dict[str, int]) -> None:
        """Write the footer and close the file. A second call does nothing."""
        if self._file < 0:
            return
        try:
            self._write(self.footer(account))
        finally:
            if self._mapped is not None:
                self._mapped.close()
            os.close(self._file)
            self._file = -1

    def footer(self, account: dict[str, int]) -> Footer:
        """The footer that would close the file now."""
        return Footer(records=self.records, account=account, closed_ns=time.monotonic_ns())

    def _map(self) -> None:
        try:
            self._mapped = MappedFile(self._file)
        except CannotBeMapped:
            pass
        except OSError as error:
            raise self._write_error(error) from error

    def _write(self, record: msgspec.Struct) -> None:
        line = self._encode(record)
        try:
            if self._mapped is not None:
                self._mapped.append(line)
                return
            line += b"\n"
            written = os.write(self._file, line)
        except OSError as error:
            raise self._write_error(error) from error
        self._length += written
        if written != len(line):
            raise LedgerError(
                f"Only {written} of {len(line)} bytes were written to {self.path}: disk full?"
            )

    def _write_error(self, error: OSError) -> LedgerError:
        return LedgerError(f"The ledger {self.path} cannot be written: {error.strerror}.")


def header(*, role: Literal["evidence", "observations"], run: str) -> Header:
    """The header of a file that this process starts now."""
    return Header(
        role=role,
        run=run,
        host=platform.node(),
        boot=boot_identity(),
        pid=os.getpid(),
        started_ns=time.monotonic_ns(),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def boot_identity() -> str:
    """The origin of this machine's monotonic clock, as a string to compare.

    On Linux the kernel's boot id, with the time namespace of a process that is in one of its own;
    elsewhere the host's name, which is right as long as the machine was not rebooted between two
    files.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()
    try:
        namespace = str(Path("/proc/self/ns/time").readlink())
    except OSError:  # an older kernel, which has none
        return boot
    return boot if namespace == _INITIAL_TIME else f"{boot} {namespace}"


class Records(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A file of records as read back."""

    header: Header | None
    records: Sequence[T]
    """Everything between header and footer, in the order of writing."""
    footer: Footer | None
    fault: str
    """Why the file is not complete; empty when it is."""
    lost: str = ""
    """Which records could not be read, where the file can be believed without them."""


class Store(Protocol):
    """Collects the records of a file while it is read; a sequence of them afterwards."""

    def extend(self, records: Any, /) -> None:
        """Append these records."""

    def __len__(self) -> int:
        """The number of records."""
        ...


def read_records(
    path: Path,
    kinds: Any,
    store: Store | None = None,
    *,
    expendable: tuple[bytes, ...] = (),
) -> Records[Any]:
    """Read a file of records of the union ``kinds``; ``fault`` says what is missing or broken.

    Where there is no ``path`` but a ``path.xz``, as in published runs, that is read. The zero
    bytes at the end of a mapped file that was not closed are not a fault of their own. ``store``
    collects the records; without one they are a tuple. ``expendable``: how lines begin that may
    be broken at the cost of their own record.
    """
    kept: Any = [] if store is None else store
    reading = Reading(kept)
    fault = ""
    try:
        for records in reading.lines(path, kinds, expendable=expendable):
            reading.add(records)
    except OSError as error:
        fault = f"{path.name}: {error.strerror or error}"
    read = reading.done(path, fault)
    return msgspec.structs.replace(read, records=tuple(kept)) if store is None else read


class Reading:
    """What was read so far of a file of records, or of a part of it."""

    def __init__(
        self, store: Store, first: Header | None = None, last: Footer | None = None
    ) -> None:
        """``store``: has, and collects, the records but for the file's header and footer."""
        self.store = store
        self.first = first
        self.last = last
        self.passed = 0
        """Lines that were passed."""
        self.lost: list[int] = []
        """Numbers of those that were expendable, and could not be read."""
        self.broken = 0
        """The number of the line that could not be read and ends it; 0: there is none."""

    def lines(
        self,
        path: Path,
        kinds: Any,
        *,
        begin: int = 0,
        until: int = sys.maxsize,
        expendable: tuple[bytes, ...] = (),
        on_read: Callable[[bytes], object] | None = None,
    ) -> Iterator[list[Any]]:
        """The records of the lines that begin in these bytes, many at a time, up to a broken one.

        ``on_read`` is called with all bytes, as they are read. Raises OSError.
        """
        decoder = msgspec.json.Decoder(kinds)
        with _opened(path) as file:  # a part at a time: a file may be larger than memory
            if begin:
                file.seek(begin - 1)
                begin += len(file.readline()) - 1
            while begin < until and (part := file.read(min(READ_SIZE, until - begin))):
                if not part.endswith(b"\n"):
                    part += file.readline()
                begin += len(part)
                if on_read is not None:
                    on_read(part)
                found = self._records(part, decoder, expendable)
                if found:
                    yield found
                if self.broken:
                    return

    def add(self, records: list[Any]) -> None:
        """Add the records that follow, of which there is at least one."""
        part = Reading(records)
        if not self._begun and isinstance(records[0], Header):
            part.first = records.pop(0)
        if records and isinstance(records[-1], Footer):
            part.last = records.pop()
        self.join(part)

    def join(self, part: Reading) -> None:
        """Add what was read of the part of the file that follows."""
        self.lost += [self.passed + number for number in part.lost]
        self.broken = self.passed + part.broken if part.broken else self.broken
        self.passed += part.passed
        if not part._begun:
            return
        if self.last is not None:
            self.store.extend([self.last])
        if self._begun and part.first is not None:
            self.store.extend([part.first])
        else:
            self.first = self.first or part.first
        self.store.extend(part.store)
        self.last = part.last

    def done(self, path: Path, fault: str = "") -> Records[Any]:
        """The records of the file, which was read to its end or ``fault``, or to a broken line."""
        if self.broken:
            fault = f"{path.name}: line {self.broken} is broken"
        store: Any = self.store
        count = len(store) + len(self.lost)
        return Records(
            header=self.first,
            records=store,
            footer=self.last,
            fault=fault or _missing(path.name, self.first, self.last, count),
            lost=_lost(path.name, self.lost),
        )

    @property
    def _begun(self) -> bool:
        """There is a record."""
        return bool(self.first or self.last or len(self.store))

    def _records(
        self, part: bytes, decoder: msgspec.json.Decoder[Any], expendable: tuple[bytes, ...]
    ) -> list[Any]:
        """The records of these lines, which are passed by that, up to a broken one."""
        found = _one_value_per_line(part, decoder)
        before = self.passed
        if found is not None:
            self.passed += len(found)
            return found
        self.passed += part.count(b"\n")
        found, gone, broken = _line_by_line(part, decoder.decode, expendable)
        self.lost += [before + number for number in gone]
        self.broken = before + broken if broken else 0
        return found


def _one_value_per_line(part: bytes, decoder: msgspec.json.Decoder[Any]) -> list[Any] | None:
    """The records of lines that each hold exactly one; None where some line does not.

    The decoder only needs white space between values: it would accept two on a line, as where a
    newline was lost, and one that spans several.
    """
    try:
        found: list[Any] = decoder.decode_lines(part)
    except (ValueError, RecursionError):
        return None
    return found if len(found) == part.count(b"\n") else None


def _line_by_line(
    part: bytes, decode: Callable[[bytes], Any], expendable: tuple[bytes, ...]
) -> tuple[list[Any], list[int], int]:
    """(records, numbers of the lost lines, number of the broken line that ends it; 0 for none).

    The zero bytes at the end of a mapped file that was not closed are not a line.
    """
    found: list[Any] = []
    lost: list[int] = []
    for number, line in enumerate(part.split(b"\n"), start=1):
        if not line or line[0] == 0:
            continue
        try:
            found.append(decode(line))
        except (ValueError, RecursionError):
            if not line.startswith(expendable):
                return found, lost, number
            lost.append(number)
    return found, lost, 0


def _lost(name: str, lines: list[int]) -> str:
    if not lines:
        return ""
    more = f", nor {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"{name}: the record in line {lines[0]} cannot be read{more}"


def _missing(name: str, first: Header | None, last: Footer | None, count: int) -> str:
    if first is None:
        return f"{name}: no header"
    if last is None:
        return f"{name}: no footer, so it is truncated"
    if last.records != count:
        return f"{name}: its footer counts {last.records} records, it has {count}"
    return ""


def _opened(path: Path) -> IO[bytes]:
    """The file, or its compressed copy. Raises OSError where neither can be read."""
    packed = path.with_name(f"{path.name}.xz")
    if path.exists() or not packed.exists():
        return path.open("rb")
    try:
        import lzma  # noqa: PLC0415 - some Pythons are built without it
    except ImportError as error:
        raise OSError("it is compressed, and this Python was built without lzma") from error
    try:
        return io.BytesIO(lzma.decompress(packed.read_bytes()))
    except lzma.LZMAError as error:
        raise OSError(f"it cannot be decompressed: {error}") from error
