"""The fake providers for somebody else's tests: a process of its own, asked over HTTP.

Decides how it is started and how its control API is spoken. Refuses to import it: the package
``fake_providers`` that lies on the path here may be another one.
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from routerspec.processes import own_code

_START_WITHIN_S: Final = 30.0
_STOP_WITHIN_S: Final = 5.0
_ANSWER_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.02


class FakesError(RuntimeError):
    """The fakes did not start, or refused what they were asked; the message says why."""


class RouterspecFakes:
    """All fake providers. URLs have no path and no trailing slash: add ``/v1`` for OpenAI's."""

    def __init__(
        self,
        *,
        openai_url: str,
        ollama_url: str,
        anthropic_url: str,
        control_url: str,
        control_token: str = "",
    ) -> None:
        self.openai_url = openai_url
        self.ollama_url = ollama_url
        self.anthropic_url = anthropic_url
        self.control_url = control_url
        self.control_token = control_token
        """Calls of the control API carry it: ``Authorization: Bearer TOKEN``."""
        self._gates: list[str] = []
        self._held_before = 0

    def hold(
        self,
        at: Literal["head", "first", "end"] = "head",
        *,
        provider: Literal["openai", "ollama", "anthropic"] | None = None,
    ) -> None:
        """Hold every call from now on, until ``release``.

        ``at``: before anything is answered, after a stream's first piece, or before the end.
        """
        self._held_before += 1
        gate = f"pytest-{self._held_before}"
        wants = {"wants": f"hold={at},gate={gate}", "provider": provider}
        self._ask("POST", "/control/behaviours", wants)
        self._gates.append(gate)

    def release(self) -> int:
        """Let all go that ``hold`` holds, and hold no more; how many were held."""
        self._ask("DELETE", "/control/behaviours")
        gates, self._gates = self._gates, []
        return sum(self._ask("POST", f"/control/gates/{gate}/open")["released"] for gate in gates)

    def held(self) -> int:
        """How many calls are held at this instant."""
        return len(self._ask("GET", "/control/now")["held"])

    def wait_until_held(self, count: int, within_s: float = 10.0) -> int:
        """Wait for at least ``count`` held calls; how many are held in the end, be it fewer."""
        give_up = time.monotonic() + within_s
        while (held := self.held()) < count and time.monotonic() < give_up:
            time.sleep(_POLL_S)
        return held

    def ledger(self) -> list[dict[str, Any]]:
        """Everything seen so far, a record a call or model-list fetch, in the order of its end.

        ``kind`` is ``call`` or ``list_fetch``; times are nanoseconds of ``time.monotonic_ns``. A
        record is written just after the last byte was sent.
        """
        text = self._text("GET", "/control/ledger")
        records = (json.loads(line) for line in text.splitlines())
        return [record for record in records if record["kind"] in {"call", "list_fetch"}]

    def reset(self) -> None:
        """Let everything go and forget what was ordered. The ledger and the epochs stay."""
        self._gates = []
        self._ask("POST", "/control/reset")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self._text(method, path, body))

    def _text(self, method: str, path: str, body: Any = None) -> str:
        # Straight to the port: whatever proxies the machine has, the fakes are on this one.
        parts = urlsplit(self.control_url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=_ANSWER_WITHIN_S
        )
        try:
            words = None if body is None else json.dumps(body)
            headers = {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.control_token}",
            }
            connection.request(method, path, words, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise FakesError(f"The fakes do not answer {method} {path}: {error}.") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise FakesError(f"The fakes refused {method} {path}: {text}")
        return text


@contextmanager
def running_fakes(folder: Path) -> Iterator[RouterspecFakes]:
    """Start the fakes on free ports and end them with the block. They end with us, too."""
    announce, log = folder / "announce.json", folder / "fakes.log"
    words = ["-m", "fake_providers", "--exit-with-stdin", "--announce", str(announce)]
    for name in ("openai", "ollama", "anthropic", "control"):
        words += [f"--{name}-port", "0"]
    words += ["--ledger", str(folder / "evidence.jsonl"), "--control-token", "-"]
    with log.open("ab") as output:
        child = subprocess.Popen(
            own_code.own_python(*words),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=own_code.own_environment(),
            process_group=0,
        )
    token = secrets.token_hex(16)
    try:
        _give(child, token)
        yield _announced(child, announce, log, token)
    finally:
        _end(child)


def _give(child: subprocess.Popen[bytes], token: str) -> None:
    """By standard input, where no other process sees it."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.write(f"{token}\n".encode())
        child.stdin.flush()


def _announced(
    child: subprocess.Popen[bytes], announce: Path, log: Path, token: str
) -> RouterspecFakes:
    give_up = time.monotonic() + _START_WITHIN_S
    while not announce.exists():
        if child.poll() is not None or time.monotonic() > give_up:
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            raise FakesError(f"The fakes did not start: {said or 'not a word from them'}")
        time.sleep(_POLL_S)
    told = json.loads(announce.read_bytes())
    return RouterspecFakes(
        openai_url=told["openai"],
        ollama_url=told["ollama"],
        anthropic_url=told["anthropic"],
        control_url=told["control"],
        control_token=token,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        assert child.stdin is not None
        child.stdin.close()
