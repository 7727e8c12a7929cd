"""Whatever they receive, the fakes stay up, count correctly, and have no internal errors."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

import fake_providers
from fake_providers import Fakes
from tests.fakes.hostile import Attack, attacks, sound
from tests.support import http

PATIENCE_S = 10.0
MAX_PER_TURN = 32
SILENCE_S = 0.25
"""Longest wait for the answer to a malformed request: there may be none."""


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    with fake_providers.running(
        ledger=tmp_path / "evidence.jsonl", run="k3", log=tmp_path / "output.log"
    ) as running:
        yield running
    output = (tmp_path / "output.log").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in output, output[-3000:]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Fakes]:
    """Fakes whose control API needs a token."""
    with fake_providers.running(
        ledger=tmp_path / "evidence.jsonl", log=tmp_path / "output.log", control_token="a-token-ok"
    ) as running:
        yield running
    output = (tmp_path / "output.log").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in output, output[-3000:]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_control_api_keeps_to_its_own_schema(locked: Fakes) -> None:
    fakes, bearer = locked, {"Authorization": f"Bearer {locked.control_token}"}
    schema = schemathesis.openapi.from_url(fakes.control_url + "/openapi.json")
    seen: Counter[str] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=25,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        def keeps(case: schemathesis.Case[Any]) -> None:
            answer = case.call_and_validate(
                headers=bearer,
                excluded_checks=[positive_data_acceptance]
                if case.path == "/control/behaviours"  # no schema can tell what may be wanted
                else [],
            )
            seen[f"{case.method} {case.path}"] += 1
            assert answer.status_code < 500

        keeps()
    assert {"GET /control/now", "GET /metrics", "POST /control/default"} <= set(seen)
    assert http.post(fakes.control_url + "/control/reset", headers=bearer).status_code == 200
    check_well(fakes)


def test_ten_thousand_malformed_requests_do_no_harm(fakes: Fakes) -> None:
    chosen = attacks(seed=1, count=10_000)
    statuses = asyncio.run(attack_with(fakes, chosen))
    print(dict(sorted(Counter(statuses).items(), key=str)))
    wrong = [
        (status, attack)
        for status, attack in zip(statuses, chosen, strict=True)
        if status is not None and status >= 500
    ]
    assert not wrong, wrong[:3]
    check_well(fakes)


def check_well(fakes: Fakes) -> None:
    """Everything has ended, nothing was lost count of, and a good request works."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        bearer = {"Authorization": f"Bearer {fakes.control_token or 'none'}"}
        now = http.get(fakes.control_url + "/control/now", headers=bearer).json()
        levels = [now["in_flight"]["all"], *now["in_flight"]["providers"].values()]
        levels += now["in_flight"]["routes"] + now["in_flight"]["models"]
        if not any(level["now"] for level in levels):
            break
        assert time.monotonic() < give_up, now
        time.sleep(0.02)
    assert now["open"] == {"openai": 0, "ollama": 0}
    assert now["held"] == []
    assert [state["open"] for state in now["lists"].values()] == [0, 0]
    for url in (fakes.openai_url + "/v1/chat/completions", fakes.ollama_url + "/api/chat"):
        answer = http.post(url, json=sound(stream=False))
        assert answer.status_code == 200
        assert "#end4-" in answer.text
    health = http.get(fakes.control_url + "/control/health").json()
    assert health["pid"] == fakes.pid


async def attack_with(fakes: Fakes, chosen: list[Attack]) -> list[int | None]:
    """The status that each attack was answered with; None for none."""
    doors = asyncio.Semaphore(MAX_PER_TURN)
    urls = {"openai": fakes.openai_url, "ollama": fakes.ollama_url}

    async def one(attack: Attack) -> int | None:
        async with doors:
            return await attack_once(urls[attack.provider], attack)

    return await asyncio.gather(*(one(attack) for attack in chosen))


async def attack_once(url: str, attack: Attack) -> int | None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(attack.data)
        await writer.drain()
        if attack.leave == "read":
            async with asyncio.timeout(SILENCE_S if attack.kind == "broken HTTP" else PATIENCE_S):
                while data := await reader.read(65536):
                    answer += data
    except TimeoutError:
        assert attack.kind == "broken HTTP", attack
    except ConnectionError:
        assert attack.kind in {"broken HTTP", "huge headers"} or answer or b"cut=0" in attack.data
    finally:
        if attack.leave == "reset":
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()
    first = answer.partition(b"\r\n")[0].split()
    return int(first[1]) if len(first) > 1 and first[1].isdigit() else None
