"""The clients: each with a thread and a connection of its own, so that it can leave on its own.

Decides how one asks, and what it remembers of the answer. Refuses to know the provider's side.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from routerspec.repro.kit.wire import PATHS, parts


class Exchange:
    """One request to the router and what came of it."""

    def __init__(
        self, url: str, method: str, path: str, headers: dict[str, str], body: Any
    ) -> None:
        address = urlsplit(url)
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        """Of the answer, their names in small letters."""
        self.text = ""
        self.failed = ""
        """Why there is no whole answer; empty: there is one, or not yet."""
        self.asked = 0.0
        """When the request was written, on the monotonic clock."""
        self.came: float | None = None
        """When it was over."""
        self.over = threading.Event()
        self._body = None if body is None else json.dumps(body).encode()
        self._request = (method, path, self._body, headers)
        self._keep_back = False
        self.ready = False
        """All is written but the last byte, where that is kept back."""
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port)
        self._connection.timeout = 30
        self._sock: socket.socket | None = None
        self._go: threading.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def ask(self, go: threading.Event | None = None) -> Any:
        """Send it, without waiting for anything; once ``go`` is set, where there is one."""
        self._go = go
        self._thread.start()
        return self

    def ask_all_but_the_last_byte(self) -> Any:
        """Connect, and write what there is to write but for the last byte."""
        self._keep_back = True
        return self.ask()

    def write_the_last_byte(self) -> None:
        """Now it is asked."""
        if self._sock is not None and self._body is not None:
            self._sock.sendall(self._body[-1:])
            self.asked = time.monotonic()

    def leave(self) -> None:
        """Hang up."""
        if self._sock is not None:
            with contextlib.suppress(OSError):  # The router may have been quicker.
                self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def well(self) -> bool:
        """It was answered to its end, with a good status."""
        return self.over.is_set() and not self.failed and self.status == 200

    @property
    def waiting(self) -> bool:
        """Written, and without a whole answer."""
        return bool(self.asked) and not self.over.is_set()

    @property
    def finished(self) -> bool:
        """The answer says that it came to a good end."""
        said = self.text.replace(" ", "")
        marks = ('"finish_reason":"stop"', "[DONE]", '"done":true')
        return any(mark in said for mark in marks)

    @property
    def parts(self) -> list[Any]:
        """The JSON objects of the answer."""
        return parts(self.text)

    @property
    def told_of_error(self) -> bool:
        """Some part of the answer says that something went wrong."""
        errors = any(part.get("error") for part in self.parts)
        return errors or bool(re.search(r"^event: *error", self.text, re.MULTILINE))

    def _run(self) -> None:
        try:
            if self._go is not None:
                self._go.wait(30)
            self._connection.connect()
            self._sock = self._connection.sock
            if self._keep_back and self._body:
                self._connection.putrequest(*self._request[:2])
                for name, value in self._request[3].items():
                    self._connection.putheader(name, value)
                self._connection.putheader("Content-Length", str(len(self._body)))
                self._connection.endheaders(self._body[:-1])
                self.ready = True
            else:
                self._connection.request(*self._request)
                self.asked = time.monotonic()
            response = self._connection.getresponse()
            self.status = response.status
            self.headers = {name.lower(): value for name, value in response.getheaders()}
            while part := response.read1(65536):
                self.text += part.decode(errors="replace")
        except (OSError, http.client.HTTPException, AttributeError, ValueError) as error:
            self.failed = f"{type(error).__name__}: {error}"
        finally:
            self._connection.close()
            self.came = time.monotonic()
            self.over.set()


class Client(Exchange):
    """One generation request."""

    _numbers = itertools.count(1)

    def __init__(self, url: str, headers: dict[str, str], route: dict[str, Any], mode: str) -> None:
        self.number = next(Client._numbers)
        self.route, self.mode = route, mode
        prompt = f"Say repro-{self.number}- again"
        body: dict[str, Any] = {"model": route["model"]}
        if mode == "embeddings":
            body["input"] = prompt
        elif mode == "completions":
            body |= {"prompt": prompt, "stream": False}
        else:
            body |= {"messages": [{"role": "user", "content": prompt}], "stream": mode == "stream"}
        path = route["path"] + PATHS[route["front"], mode]
        every = {"Content-Type": "application/json", **headers, **route["headers"]}
        super().__init__(url, "POST", path, every, body)
