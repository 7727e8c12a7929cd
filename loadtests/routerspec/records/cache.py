"""Large ledgers that were read before, as columns: ``~/.cache/routerspec/columns``.

Columns are not kept in the run folder, which is foreign input: they could say anything there, and a
digest that fits the ledger proves nothing, since whoever writes the columns writes the digest too.
They are kept where only this user can write, by the digest of the very bytes that they were made
from: an entry is found by what a ledger holds, not by its path, age or length. A run folder is not
changed, and nothing in it is believed but the ledger.

Nothing is kept of a ledger with a fault. An entry is bound to the code that made it and carries a
digest of its own. Where anything is wrong with it (truncated, another version's or ledger's, any
byte changed, a link) the ledger is read as if there were no entry. The folder can be deleted at any
time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fake_providers.prompt import directives
from fake_providers.records import evidence, ledger
from routerspec.records import columns, observations, packing, readers, storage, whole_answers

SMALLEST: Final = 8 << 20
"""Ledgers of fewer bytes are read in a tenth of a second: nothing is kept of them."""
MOST: Final = 2 << 30
"""Bytes that are kept in all; beyond that the entries that were not used for longest go."""
_SHARE: Final = 10
"""Nor is more kept than this part of the free space on the disk."""
_DIGEST: Final = hashlib.sha256().digest_size
_SUFFIX: Final = ".columns"
_MAKERS: Final = (
    columns,
    packing,
    readers,
    whole_answers,
    observations,
    evidence,
    directives,
    ledger,
)


def read(path: Path, role: readers.Role, run: str) -> ledger.Records[Any]:
    """The records of the ledger at ``path``, as ``readers.read`` reads them.

    ``run``: the token of the start. Raises what ``readers.read`` raises, and nothing else.
    """
    size = _size(path)
    folder = _folder() if size >= SMALLEST and _version() else None
    if folder is None:
        return readers.read(path, role, run)[0]
    purpose = f"{_version()} {role} {run} {size}"
    known = _entries_of(folder, size)
    if known and (digest := readers.digest(path)):
        name = _name(size, purpose, digest)
        if name in known and (found := _load(folder / name, path, role, run, size)) is not None:
            return found
    records, digest = readers.read(path, role, run)
    if not records.fault and not records.lost:
        _keep(folder, _name(size, purpose, digest), records)
    return records


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # there may be a compressed copy; or the reader says what is wrong
        return 0


def _folder() -> Path | None:
    """Where columns are kept, which is made if need be; None where nobody else is kept out."""
    if not hasattr(os, "geteuid"):
        return None
    said = os.environ.get("XDG_CACHE_HOME", "")
    try:
        above = Path(said) if Path(said).is_absolute() else Path.home() / ".cache"
        folder = above / "routerspec" / "columns"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        its = folder.lstat()
    except (OSError, RuntimeError, ValueError):  # no home, not to be written, a zero byte
        return None
    private = its.st_uid == os.geteuid() and not its.st_mode & 0o077
    return folder if private and stat.S_ISDIR(its.st_mode) else None


@cache
def _version() -> str:
    """The code that makes columns of a ledger, by its source; empty where that is not there."""
    made = hashlib.sha256(f"{msgspec.__version__} {sys.byteorder}".encode())
    for module in _MAKERS:
        try:
            made.update(Path(module.__file__ or "").read_bytes())
        except OSError:
            return ""
    return made.hexdigest()


def _name(size: int, purpose: str, digest: bytes) -> str:
    return f"{size}-{hashlib.sha256(purpose.encode() + digest).hexdigest()}{_SUFFIX}"


def _entries_of(folder: Path, size: int) -> set[str]:
    """The names of what is kept of ledgers of this size: without any, no digest is needed."""
    try:
        return {path.name for path in folder.glob(f"{size}-*{_SUFFIX}")}
    except OSError:
        return set()


def _load(
    entry: Path, path: Path, role: readers.Role, run: str, size: int
) -> ledger.Records[Any] | None:
    """What is kept there of the ledger at ``path``; None where it is not to be believed."""
    try:
        raw = _content(entry)
        digest = hashlib.sha256(entry.name.encode())
        digest.update(raw[_DIGEST:].data)
        if digest.digest() != raw[:_DIGEST].tobytes():
            return None
        records = packing.unpack(raw[_DIGEST:], readers.KINDS[role].union, run, size).done(path)
        os.utime(entry, follow_symlinks=False)
    except (OSError, ValueError, MemoryError):
        return None
    return None if records.fault else records


def _content(path: Path) -> NDArray[np.uint8]:
    """The bytes of a regular file of ours. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(file, "rb", buffering=0) as opened:
        its = os.fstat(file)
        if not stat.S_ISREG(its.st_mode) or its.st_uid != os.geteuid() or its.st_size > MOST:
            raise OSError("not what was kept")
        raw = storage.empty(its.st_size, np.uint8)
        got = 0
        while got < len(raw) and (some := opened.readinto(raw.data[got:])):
            got += some
    return raw[:got]


def _keep(folder: Path, name: str, records: ledger.Records[Any]) -> None:
    """Keep the columns under this name, whole or not at all; what stands in the way is no fault."""
    assert isinstance(records.records, columns.Packed)
    if packing.least(records.records) > MOST:
        return
    try:
        file, fresh = tempfile.mkstemp(dir=folder, suffix=".new")
    except OSError:
        return
    whole = ledger.Reading(records.records, records.header, records.footer)
    try:
        digest = hashlib.sha256(name.encode())
        with os.fdopen(file, "wb") as opened:
            opened.write(bytes(_DIGEST))
            for piece in packing.pack(whole):
                digest.update(piece)
                opened.write(piece)
            opened.seek(0)
            opened.write(digest.digest())
        _prune(folder, Path(fresh))
        Path(fresh).replace(folder / name)
    except (OSError, ValueError, msgspec.MsgspecError):  # a full disk, a text without UTF-8
        with contextlib.suppress(OSError):
            Path(fresh).unlink()


def _prune(folder: Path, fresh: Path) -> None:
    """Delete what was not used for longest, until there is room. Raises OSError for no room."""
    new = fresh.stat().st_size
    room = min(MOST, (shutil.disk_usage(folder).free + new) // _SHARE) - new
    if room < 0:
        raise OSError("no room")
    others = _oldest_last(path for path in folder.iterdir() if path != fresh)
    for path, size in others:
        room -= size
        if room < 0:
            path.unlink(missing_ok=True)


def _oldest_last(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    files = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            files.append((path.lstat(), path))
    for its, path in sorted(files, key=lambda file: file[0].st_mtime, reverse=True):
        yield path, its.st_size
