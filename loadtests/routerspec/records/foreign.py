"""Files of a run that somebody else may have made: read and decoded here, and nowhere else.

A run is sent by mail, unpacked from an archive, edited by hand. Nothing in it is trusted with a
path, and whatever is wrong with it is a usage error with the next step.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from fake_providers.prompt.instances import MOST
from routerspec.errors import UsageError
from routerspec.records.load_processes import MOST as MOST_PROCESSES

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PROVIDER: Final = re.compile(r"[a-z]+")
_UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_MOST: Final = 1e9
_NEXT: Final = "Use the run's folder as routerspec wrote it, or make a new run."


def file_in(folder: Path, *names: str) -> Path:
    """The path of a file below ``folder``, which may be missing.

    Raises UsageError for one that is no regular file (a FIFO would be waited for), and for one
    that leads out of the folder.
    """
    path = folder.joinpath(*names)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a zero byte, a loop
        raise UsageError(f"{path} cannot be read: {sentence(error)}. {_NEXT}") from None
    if not inside:
        raise UsageError(f"{path} leads out of the run's folder. {_NEXT}")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is not a file. {_NEXT}")
    return path


def read_record(kind: type[T], folder: Path, *names: str) -> T:
    """The JSON file of one record below ``folder``. Raises UsageError."""
    path = file_in(folder, *names)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {sentence(error)}. {_NEXT}") from None
    return decoded(kind, raw, path)


def decoded(
    kind: type[T], raw: bytes, path: Path, *, wrong: str = "cannot be read", then: str = _NEXT
) -> T:
    """The record in ``raw``, which was read from ``path``. Raises UsageError: what is ``wrong``,
    and what to do ``then``.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except _UNDECODABLE as error:
        raise UsageError(f"{path} {wrong}: {sentence(error)}. {then}") from None


def within_reason(record: Any, path: Path) -> None:
    """Raise UsageError for a number in the promises or settings of a run that nobody means.

    A target file has bounds of its own; sums of what is beyond these overflow.
    """
    for name, value in msgspec.to_builtins(record).items():
        for each in value.items() if isinstance(value, dict) else [(name, value)]:
            number = each[1]
            if isinstance(number, int | float) and not 0 <= number <= _MOST:
                raise UsageError(f"{path}: {each[0]} is {number:.6g}. {_NEXT}")


def start_name(name: str, path: Path) -> str:
    """The name of a start, which is that of a folder. Raises UsageError for any other text."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{path}: {name!r} is no name of a start. {_NEXT}")
    return name


def instances(counts: Mapping[str, int], path: Path) -> None:
    """Raise UsageError for a provider or a number of instances that no target file can state."""
    for name, count in counts.items():
        if not _PROVIDER.fullmatch(name) or not 1 <= count <= MOST:
            raise UsageError(f"{path}: {name!r} has {count} instances. {_NEXT}")


def load_processes(numbers: Collection[int], path: Path) -> None:
    """Raise UsageError for a number that no further load process has."""
    wrong = next((number for number in numbers if not 1 <= number <= MOST_PROCESSES), None)
    if wrong is not None:
        raise UsageError(f"{path}: there is no load process {wrong}. {_NEXT}")


def sentence(error: Exception) -> str:
    """Why something cannot be read, without a full stop."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(getattr(error, "strerror", None) or error).rstrip(".")
