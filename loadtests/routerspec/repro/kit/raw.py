"""HTTP/1.1 as bytes: a connection to the router, and a strict reader of what comes back on it."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from urllib.parse import urlsplit


class BrokenHTTPError(Exception):
    """The answer breaks HTTP/1.1."""


class Response:
    """One answer, as it was read."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.head = b""  # without that of interim answers
        self.headers: list[tuple[str, str]] = []  # names in lower case
        self.body = b""
        self.framing = ""  # length, chunked, close or none
        self.fault = ""  # what breaks HTTP/1.1
        self.failure = ""  # why it is not whole otherwise: cut, or too late

    @property
    def succeeded(self) -> bool:
        """Answered to the end with status 200."""
        return self.status == 200 and not self.fault and not self.failure

    @property
    def refused(self) -> bool:
        """Answered to the end with an error status."""
        return bool(self.status and self.status >= 400 and not self.fault and not self.failure)

    @property
    def refused_as_wrong(self) -> bool:
        """Refused as a request that cannot be served."""
        return self.refused and (self.status or 0) < 500

    @property
    def outcome(self) -> str:
        """``200``, or what went wrong."""
        wrong = self.fault or self.failure
        return f"{self.status or 'no status'}{wrong and f' ({wrong})'}"

    def header(self, name: str) -> str:
        """Its value, or all of them joined; empty where there is none."""
        return ", ".join(value for its, value in self.headers if its == name)


class Connection:
    """One connection to the router, for any number of requests."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.host = address.netloc
        self._sock = socket.create_connection((address.hostname or "", address.port or 80), 15)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""  # read, and not yet part of an answer
        self._give_up = 0.0

    def write(self, data: bytes) -> None:
        """Send the bytes; what a router that has answered already no longer reads is dropped."""
        with contextlib.suppress(OSError):
            self._sock.sendall(data)

    def read(
        self, method: str = "POST", within_s: float = 15.0, into: Response | None = None
    ) -> Response:
        """The next answer. It does not raise: what is wrong with it stands in it."""
        read = into or Response()
        self._give_up = time.monotonic() + within_s
        try:
            while read.status is None or read.status < 200:
                self._read_head(read)
            self._read_body(read, method)
        except TimeoutError:
            read.failure = f"no end within {within_s:g} s"
        except OSError:
            read.failure = "the connection was closed before the end"
        except BrokenHTTPError as error:
            read.fault = str(error)
        return read

    def surplus(self, for_s: float = 0.1) -> bytes:
        """What came after the answer without a request."""
        self._give_up = time.monotonic() + for_s
        try:
            while True:
                self._more()
        except OSError:
            return self._left

    def closed(self, within_s: float = 0.1) -> bool:
        """The router has closed the connection."""
        self._give_up = time.monotonic() + within_s
        try:
            while True:
                self._more()
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Disconnect."""
        self._sock.close()

    def _read_head(self, read: Response) -> None:
        read.head, read.headers = b"", []
        first = self._line()
        read.head = first + b"\r\n"
        found = re.fullmatch(rb"HTTP/1\.[01] (\d{3})( [^\r\n]*)?", first)
        if not found:
            raise BrokenHTTPError(f"no status line: {first[:60]!r}")
        read.status = int(found[1])
        while line := self._line():
            read.head += line + b"\r\n"
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise BrokenHTTPError(f"no header field: {line[:60]!r}")
            read.headers.append((name.lower(), value.strip()))

    def _read_body(self, read: Response, method: str) -> None:
        lengths = {value for name, value in read.headers if name == "content-length"}
        coding = read.header("transfer-encoding").lower()
        if method == "HEAD" or read.status in (204, 304):
            read.framing = "none"
        elif coding and lengths:
            raise BrokenHTTPError("both Content-Length and Transfer-Encoding")
        elif coding:
            read.framing = "chunked"
            if coding != "chunked":
                raise BrokenHTTPError(f"Transfer-Encoding: {coding}")
            while size := self._chunk_size():
                self._body(read, size)
                if self._line():
                    raise BrokenHTTPError("a chunk is longer than it says")
            while self._line():
                pass
        elif lengths:
            read.framing = "length"
            length = lengths.pop()
            if lengths or not re.fullmatch(r"\d+", length):
                raise BrokenHTTPError(f"Content-Length: {read.header('content-length')}")
            self._body(read, int(length))
        else:
            read.framing = "close"
            try:
                while True:
                    self._body(read, 1 << 20)
            except ConnectionAbortedError:
                pass

    def _chunk_size(self) -> int:
        line = self._line()
        found = re.fullmatch(rb"([0-9A-Fa-f]+)[ \t]*(;.*)?", line)
        if not found:
            raise BrokenHTTPError(f"no chunk size: {line[:60]!r}")
        return int(found[1], 16)

    def _body(self, read: Response, count: int) -> None:
        while count:
            if not self._left:
                self._more()
            part, self._left = self._left[:count], self._left[count:]
            read.body += part
            count -= len(part)

    def _line(self) -> bytes:
        while b"\r\n" not in self._left:
            self._more()
        line, _, self._left = self._left.partition(b"\r\n")
        return line

    def _more(self) -> None:
        left_s = self._give_up - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(left_s)
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionAbortedError  # in order: no reset
        self._left += data
