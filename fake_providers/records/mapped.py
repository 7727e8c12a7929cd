"""A growing file of lines, written without a system call: copied into mapped memory.

Decides how much of the disk is reserved ahead, and that nothing is copied to where nothing is
reserved: so a full disk is an error here and never a signal. What was copied is the kernel's, and
survives the death of this process. Until it is closed the file ends in zero bytes: whoever reads
it stops at the first. Refuses to know what is written.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from typing import Final

AHEAD: Final = (1024 * 1024, 64 * 1024, mmap.ALLOCATIONGRANULARITY)
"""Bytes that are reserved at a time: the first of these that the disk has room for."""
POPULATE_WRITE: Final = 23
"""Linux's MADV_POPULATE_WRITE, which Python does not name: all pages at once cost half of what they
cost one by one, when they are first written to."""
NEWLINE: Final = b"\n"
UNABLE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS})
"""Of a file system that can reserve no room, or map no file."""


class CannotBeMapped(Exception):  # noqa: N818 - it names the state
    """The system or the file system does not know how; nothing was written."""


class MappedFile:
    """The end of an open file, as memory. One writer a file."""

    def __init__(self, file: int) -> None:
        """``file``: a descriptor open for reading and writing, of an empty file.

        Raises CannotBeMapped, or OSError when the disk has no room at all.
        """
        self._file = file
        self._begins = 0
        self._size = 0
        self.length = 0
        """Bytes that were written."""
        if not hasattr(os, "posix_fallocate"):
            raise CannotBeMapped
        try:
            self._window, self._size = self._reserved(0, 1)
        except OSError as error:
            if error.errno in UNABLE:
                raise CannotBeMapped from error
            raise

    def append(self, line: bytes) -> None:
        """Write ``line`` and its newline, or nothing. Raises OSError when the disk has no room."""
        begin = self.length - self._begins
        end = begin + len(line)
        if end >= self._size:
            self._append_across(line + NEWLINE, self._size - begin)
            return
        # Last the newline: whoever reads meanwhile finds it behind a whole line only.
        window = self._window
        window[begin:end] = line
        window[end] = NEWLINE[0]
        self.length += end - begin + 1

    def close(self) -> None:
        """Cut off what was reserved and not written. The descriptor stays open."""
        self._window.close()
        self._size = 0
        os.ftruncate(self._file, self.length)
        self._file = -1

    def _append_across(self, data: bytes, room: int) -> None:
        """Write what is longer than the ``room`` in the present window."""
        ends = self._begins + self._size
        following, size = self._reserved(ends, len(data) - room)
        following[: len(data) - room - 1] = data[room:-1]
        self._window[self._size - room :] = data[:room]
        following[len(data) - room - 1] = data[-1]
        self._window.close()
        self._window, self._begins, self._size = following, ends, size
        self.length += len(data)

    def _reserved(self, begin: int, least: int) -> tuple[mmap.mmap, int]:
        """A window of at least so many bytes, with room on the disk for all of it."""
        whole = -(-least // AHEAD[-1]) * AHEAD[-1]
        for size in AHEAD:
            with contextlib.suppress(OSError):
                return self._window_of(begin, max(size, whole))
        return self._window_of(begin, whole)

    def _window_of(self, begin: int, size: int) -> tuple[mmap.mmap, int]:
        os.posix_fallocate(self._file, begin, size)
        window = mmap.mmap(self._file, size, offset=begin)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a kernel before 5.14 does without
                window.madvise(POPULATE_WRITE)
        return window, size
