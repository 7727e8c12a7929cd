"""The clients: each has a thread and a connection of its own, so that it can disconnect alone."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from routerspec.repro.kit.spoken import dialect_at


class Exchange:
    """One request to the router and its answer."""

    def __init__(
        self, url: str, method: str, path: str, headers: dict[str, str], body: str = ""
    ) -> None:
        address = urlsplit(url)
        self.status: int | None = None
        self.headers: dict[str, str] = {}  # of the answer, names in lower case
        self.text = ""
        self.failure = ""  # why the answer is not whole
        self.sent_at = 0.0  # when the request was written, on the monotonic clock
        self.read_at: list[float] = []  # when each part of the answer was read
        self.over = threading.Event()
        self.ready = False  # all but the last byte is written
        self._address = (address.hostname or "", address.port or 80)
        every = {"Host": address.netloc, "Accept-Encoding": "identity", **headers}
        if body:
            every["Content-Length"] = str(len(body))  # json.dumps writes ASCII
        head = [f"{method} {path} HTTP/1.1", *(f"{name}: {every[name]}" for name in every)]
        self._request = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
        self._last_byte = threading.Event()
        self._sock: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def send(self, *, last_byte: bool = True) -> Self:
        """Send the request (with ``last_byte=False`` all but that) and do not wait."""
        if last_byte:
            self._last_byte.set()
        self._thread.start()
        return self

    def send_last_byte(self) -> None:
        """Complete the request."""
        self._last_byte.set()

    def done(self, within_s: float = 30.0) -> bool:
        """Wait until it is over; False when it takes longer."""
        return self.over.wait(within_s)

    def leave(self) -> None:
        """Disconnect."""
        self._last_byte.set()
        if self._sock is not None:
            with contextlib.suppress(OSError):  # the router may have closed it first
                self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def succeeded(self) -> bool:
        """Answered to the end with status 200."""
        return self.over.is_set() and not self.failure and self.status == 200

    @property
    def waiting(self) -> bool:
        """Sent, and without a whole answer."""
        return bool(self.sent_at) and not self.over.is_set()

    def _run(self) -> None:
        try:
            self._sock = socket.create_connection(self._address, timeout=30)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._last_byte.is_set():
                self._sock.sendall(self._request[:-1])
                self.ready = True
                self._last_byte.wait(30)
                self._sock.sendall(self._request[-1:])
            else:
                self._sock.sendall(self._request)
            self.sent_at = time.monotonic()
            response = http.client.HTTPResponse(self._sock)
            response.begin()
            self.status = response.status
            self.headers = {name.lower(): value for name, value in response.getheaders()}
            while part := response.read1(65536):
                self.read_at.append(time.monotonic())
                self.text += part.decode(errors="replace")
        except (OSError, http.client.HTTPException, AttributeError, ValueError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            if self._sock is not None:
                self._sock.close()
            self.over.set()


class Client(Exchange):
    """One generation request."""

    _numbers = itertools.count(1)

    def __init__(self, url: str, cell: dict[str, Any]) -> None:
        self.number, self.cell = next(Client._numbers), cell
        body = json.dumps(cell["body"]).replace("<prompt>", f"Say repro-{self.number}- again")
        every = {"Content-Type": "application/json", **cell["headers"]}
        super().__init__(url, "POST", cell["path"], every, body)


def send_at_once(exchanges: Sequence[Exchange]) -> None:
    """Send all requests but for their last bytes, then all last bytes in one instant."""
    for exchange in exchanges:
        exchange.send(last_byte=False)
    give_up = time.monotonic() + 5
    while not all(exchange.ready for exchange in exchanges) and time.monotonic() < give_up:
        time.sleep(0.02)
    for exchange in exchanges:
        exchange.send_last_byte()


def label(cell: dict[str, Any]) -> str:
    """``openai stream``: the route and the mode."""
    return f"{cell['route']} {cell['mode']}"


def streams(cell: dict[str, Any]) -> bool:
    """Its answers are streams."""
    return bool(cell["body"].get("stream"))


def json_parts(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an answer: of all of it, or of each of its lines or events."""
    found = []
    for line in (text, *text.replace("data:", "\n").splitlines()):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
            if line is text:
                break
    return [part for part in found if isinstance(part, dict)]


def is_object(text: str) -> bool:
    """The text is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def pieces_in(text: str, path: str = "") -> list[tuple[int, int, int]]:
    """(client, attempt, number) of every piece, in the order of the text; ``path``: asked at."""
    content, dialect = "", dialect_at(path)
    for part in json_parts(text):
        for heard in dialect.heard(part) if dialect else [part]:
            choice = (heard.get("choices") or [heard])[0]
            its = choice.get("delta") or choice.get("message") or choice
            content += str(its.get("content") or its.get("text") or its.get("response") or "")
            for call in its.get("tool_calls") or ():
                content += str((call.get("function") or {}).get("arguments") or "")
    found = re.findall(r"\[(\d+)\.(\d+)\.(\d+)\]", content)
    return [(int(client), int(attempt), int(number)) for client, attempt, number in found]


def says_finished(text: str) -> bool:
    """The answer claims to have come to a good end."""
    marks: tuple[str, ...] = (
        '"finish_reason":"stop"',
        '"finish_reason":"tool_calls"',
        "[DONE]",
        '"done":true',
    )
    marks += ('"stop_reason":"end_turn"', '"stop_reason":"tool_use"')
    marks += ('"type":"message_stop"', '"type":"response.completed"')
    return any(mark in text.replace(" ", "") for mark in marks)


def says_error(text: str) -> bool:
    """Some part of the answer reports an error."""
    events = re.search(r"^event: *error", text, re.MULTILINE)
    failed = ("error", "response.failed")
    return bool(events) or any(
        part.get("error") or part.get("type") in failed for part in json_parts(text)
    )
