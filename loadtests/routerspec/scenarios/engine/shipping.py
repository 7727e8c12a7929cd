"""A file of records on its way from the process that writes it to the one that leads the run.

It is sent while it grows, a bounded number of bytes ahead of what the other side has, and compared
by its digest in the end. Bytes that were lost with a connection are sent again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gevent
import gevent.event

PIECE: Final = 128 * 1024
"""Bytes in one message, at most."""
AHEAD: Final = 8 * PIECE
"""Bytes on their way at once, at most."""
_LAST_TRY_S: Final = 3.0
_STALLED_S: Final = 1.0
"""No two looks are further apart, unless this process was kept from running."""
LOOK_S: Final = 0.5
"""Between two looks at what was written."""
AGAIN_S: Final = 3.0
"""Without progress for so long, what was sent is sent again."""
SILENT_S: Final = 15.0
"""Without a word for so long, the other side is gone."""


class Silence:
    """How long nothing was heard, while this process ran: it may have been kept from running."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at = self._looked_at = clock()
        self._s = 0.0

    def broken(self) -> None:
        """Something was heard."""
        self._s, self._heard_at = 0.0, self._clock()

    @property
    def lasts_s(self) -> float:
        """How long nothing was heard, whether this process ran or not."""
        return self._clock() - self._heard_at

    def begin(self) -> None:
        """Only now it is looked at again and again: what came before counts but for a last try."""
        self._looked_at = self._clock()
        self._s = min(self._looked_at - self._heard_at, SILENT_S - _LAST_TRY_S)

    def too_long(self) -> bool:
        """Look: whether the other side is gone."""
        now = self._clock()
        self._s += min(now - self._looked_at, _STALLED_S)
        self._looked_at = now
        return self._s > SILENT_S


class Sender:
    """Sends a file, from its first byte to its last."""

    def __init__(
        self,
        path: Path,
        send: Callable[[int, bytes], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``send`` is called with an offset and the bytes there."""
        self._path = path
        self._send = send
        self._clock = clock
        self._sent = self._got = 0
        self._sent_at = clock()
        self._silence = Silence(clock)
        self._closed = False
        self._wake = gevent.event.Event()

    def got(self, offset: int) -> None:
        """The other side has everything before this offset."""
        self._silence.broken()
        if offset > self._got:
            self._got, self._sent_at = offset, self._clock()
        self._wake.set()

    def close(self) -> None:
        """Nothing more will be written."""
        self._closed = True
        self._silence.begin()
        self._wake.set()

    def run(self) -> bool:
        """Send until the other side has all of a closed file; False: it has gone silent."""
        with self._path.open("rb") as file:
            while True:
                self._wake.clear()
                if not self.step(file.fileno()):
                    self._wake.wait(timeout=LOOK_S)
                if self._closed and self._got >= os.fstat(file.fileno()).st_size:
                    return True
                if self._closed and self._silence.too_long():
                    return False

    def step(self, file: int) -> bool:
        """Send the next piece, if any may be sent now."""
        now = self._clock()
        if self._sent > self._got and now - self._sent_at > AGAIN_S:
            self._sent = self._got
        room = min(PIECE, self._got + AHEAD - self._sent)
        data = os.pread(file, room, self._sent) if room > 0 else b""
        if not data:
            return False
        if self._sent == self._got:
            self._sent_at = now
        self._send(self._sent, data)
        self._sent += len(data)
        return True


class Receiver:
    """Writes a file as its bytes come in."""

    def __init__(self, path: Path) -> None:
        """Create ``path``, which must not exist."""
        self.path = path
        self.offset = 0
        self._file = path.open("xb", buffering=0)

    def add(self, offset: int, data: bytes) -> None:
        """Write what follows; what is there already, or comes too early, is left out.

        Raises OSError where it cannot be written.
        """
        if offset != self.offset:
            return
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.offset += len(data)

    def is_whole(self, size: int, sha256: str) -> bool:
        """Whether it is the file that was sent, byte for byte."""
        return self.offset == size and digest(self.path) == sha256

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
