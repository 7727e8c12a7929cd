"""Standard output and error of a command, without effect on its files and its exit code.

A reader that goes away (``| head -1``) must not turn "held" into Python's 1, rich's 1 or anybody's
0, nor keep a report from being written: what is printed after that goes nowhere. A stream that was
closed from the start (``>&-``) goes nowhere too. Standard output on a full disk is a harness error:
the result was asked for and is not there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from routerspec.errors import HarnessError


class Output:
    """A text stream that goes silent once its pipe is closed; otherwise the stream it wraps."""

    def __init__(self, stream: TextIO, *, wanted: bool) -> None:
        """``wanted``: what cannot be written for another reason is a HarnessError."""
        self._stream = stream
        self._wanted = wanted
        self._silent = False

    def write(self, text: str) -> int:
        """Write; nothing once it is silent. Raises HarnessError where the text is wanted."""
        if not self._silent:
            with self._until_it_fails():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush; nothing once it is silent. Raises HarnessError where the text is wanted."""
        if not self._silent:
            with self._until_it_fails():
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _until_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._silent = True
            # What is still buffered would fail again when Python exits, which is status 120.
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if self._wanted and not isinstance(error, BrokenPipeError):
                raise HarnessError(
                    f"Standard output cannot be written: {error.strerror}."
                ) from error


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Both standard streams as ``Output``, flushed at the end. Raises HarnessError as they do."""
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        out, err = (
            stream or opened.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            for stream in before
        )
        output, error = Output(out, wanted=True), Output(err, wanted=False)
        sys.stdout, sys.stderr = output, error
        try:
            yield
        finally:
            try:
                output.flush()
            finally:
                error.flush()
                sys.stdout, sys.stderr = before
