"""Arrays of any length: small ones in memory, large ones in files without a name that are mapped.

What is mapped is the system's to keep in memory or not. So the memory that a run needs does not
grow with its calls, as long as what is computed of whole arrays is computed in pieces.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IN_MEMORY: Final = 32 << 20
"""Bytes of the largest array that is in memory."""
PIECE: Final = 1 << 18
"""Rows that are computed at once."""
_LASTING: Final = Path("/var/tmp")  # noqa: S108 - nothing has a name there
"""On a disk, where /tmp is often memory."""


def empty(size: int, width: Any) -> NDArray[Any]:
    """A new array of so many numbers, whatever they are."""
    width = np.dtype(width)
    if size * width.itemsize > IN_MEMORY:
        try:
            return np.frombuffer(_mapped(size * width.itemsize), width)
        except (OSError, ValueError, AttributeError):  # no room, or a system that cannot
            pass
    return np.empty(size, width)


def pieces(size: int) -> Iterator[slice]:
    """The pieces in which an array of so many rows is computed."""
    return (slice(at, min(at + PIECE, size)) for at in range(0, size, PIECE))


def _mapped(size: int) -> mmap.mmap:
    """A file of so many bytes. Raises OSError."""
    with tempfile.TemporaryFile(dir=_folder()) as file:
        # Room is reserved, since a disk that is full later would end the process.
        os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)


def _folder() -> str:
    said = os.environ.get("TMPDIR")
    return said or (str(_LASTING) if os.access(_LASTING, os.W_OK) else tempfile.gettempdir())
