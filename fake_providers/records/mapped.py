"""A growing file of lines, written without a system call: copied into mapped memory.

Disk space is reserved ahead, and nothing is copied to where none is reserved: so a full disk is an
error here and never a signal. Copied bytes belong to the kernel and survive the death of this
process. Until it is closed the file ends in zero bytes: a reader stops at the first.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from typing import Final

RESERVE_SIZES: Final = (1024 * 1024, 64 * 1024, mmap.ALLOCATIONGRANULARITY)
"""Bytes reserved at a time: the first of these for which the disk has space."""
POPULATE_WRITE: Final = 23
"""Linux's MADV_POPULATE_WRITE, which Python does not name: faulting in all pages at once costs half
as much as one by one, on the first write to each."""
NEWLINE: Final = b"\n"
UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS})
"""Errors of a file system that cannot reserve space or map files."""


class CannotBeMapped(Exception):  # noqa: N818 - it names the state
    """The system or the file system does not support it; nothing was written."""


class MappedFile:
    """The end of an open file, as memory. One writer per file."""

    def __init__(self, file: int) -> None:
        """``file``: a descriptor open for reading and writing, of an empty file.

        Raises CannotBeMapped, or OSError when the disk is full.
        """
        self._file = file
        self._begins = 0
        self._size = 0
        self.length = 0
        """Bytes written so far."""
        if not hasattr(os, "posix_fallocate"):
            raise CannotBeMapped
        try:
            self._window, self._size = self._reserved(0, 1)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                raise CannotBeMapped from error
            raise

    def append(self, line: bytes) -> None:
        """Write ``line`` and its newline, or nothing. Raises OSError when the disk is full."""
        begin = self.length - self._begins
        end = begin + len(line)
        if end >= self._size:
            self._append_across(line + NEWLINE, self._size - begin)
            return
        # The newline last: a concurrent reader finds it only after a whole line.
        window = self._window
        window[begin:end] = line
        window[end] = NEWLINE[0]
        self.length += end - begin + 1

    def close(self) -> None:
        """Truncate the file to what was written. The descriptor stays open."""
        self._window.close()
        self._size = 0
        os.ftruncate(self._file, self.length)
        self._file = -1

    def _append_across(self, data: bytes, room: int) -> None:
        """Write data longer than the ``room`` left in the current window."""
        ends = self._begins + self._size
        following, size = self._reserved(ends, len(data) - room)
        following[: len(data) - room - 1] = data[room:-1]
        self._window[self._size - room :] = data[:room]
        following[len(data) - room - 1] = data[-1]
        self._window.close()
        self._window, self._begins, self._size = following, ends, size
        self.length += len(data)

    def _reserved(self, begin: int, least: int) -> tuple[mmap.mmap, int]:
        """A window of at least ``least`` bytes, with disk space reserved for all of it."""
        whole = -(-least // RESERVE_SIZES[-1]) * RESERVE_SIZES[-1]
        for size in RESERVE_SIZES:
            with contextlib.suppress(OSError):
                return self._window_of(begin, max(size, whole))
        return self._window_of(begin, whole)

    def _window_of(self, begin: int, size: int) -> tuple[mmap.mmap, int]:
        os.posix_fallocate(self._file, begin, size)
        window = mmap.mmap(self._file, size, offset=begin)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # not known before Linux 5.14
                window.madvise(POPULATE_WRITE)
        return window, size
