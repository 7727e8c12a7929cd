"""The control client: its requests, how answers are typed, and how faults are reported."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from fake_providers.prompt.directives import token
from routerspec.errors import HarnessError
from routerspec.processes.control import Control, Default, Health, HeldCall, Lists
from routerspec.processes.launch import Fakes, start_fakes
from routerspec.processes.own_code import own_environment, own_python
from tests.support import http
from tests.support.tls import https_server

URL = "http://127.0.0.1:8002"
LISTS: dict[str, Any] = {
    "openai": {
        "fetches": 3,
        "open": 1,
        "held": 1,
        "answered": 2,
        "last_answered_ns": 17,
        "epoch": 4,
    }
}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(URL) as client:
        yield client


def body_of(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


@pytest.mark.parametrize(
    ("control_url", "told", "reached"),
    [
        ("http://10.1.2.3:8002", "http://127.0.0.1:8001", "http://10.1.2.3:8001"),
        ("http://fakes:8002", "http://[::1]:8001", "http://fakes:8001"),
        ("http://[fd00::2]:8002", "http://127.0.0.1:8001", "http://[fd00::2]:8001"),
        ("https://user-facing", "http://127.0.0.1:8001", "http://user-facing:8001"),
        ("http://10.1.2.3:8002", "http://10.9.9.9:8001", "http://10.9.9.9:8001"),
        ("http://localhost:8002", "http://127.0.0.1:8001", "http://127.0.0.1:8001"),
    ],
)
@respx.mock
def test_the_providers_of_fakes_on_every_address_are_where_the_fakes_are(
    control_url: str, told: str, reached: str
) -> None:
    respx.get(f"{control_url}/control/health").respond(json={"run": "", "pid": 7, "openai": told})
    with Control(control_url) as control:
        assert control.health() == Health(run="", pid=7, openai=reached)


@respx.mock
def test_health_and_now_are_typed(control: Control) -> None:
    respx.get(f"{URL}/control/health").respond(
        json={"run": "abc", "pid": 7, "openai": "http://o", "ollama": "http://l"}
    )
    held = {
        "provider": "openai",
        "call": 2,
        "run": "abc",
        "nonces": [5],
        "gate": "g",
        "at": "head",
        "read_ns": 9,
    }
    respx.get(f"{URL}/control/now").respond(
        json={
            "at_ns": 20,
            "arrived": {"openai": 2, "ollama": 0},
            "last_arrival_ns": None,
            "open": {"openai": 1, "ollama": 0},
            "in_flight": {
                "all": {"now": 1, "peak": 3},
                "providers": {},
                "routes": [],
                "models": [],
            },
            "held": [held],
            "lists": LISTS,
            "stalled_ns": 0,
            "something_new": True,
        }
    )
    assert control.health() == Health(run="abc", pid=7, openai="http://o", ollama="http://l")
    now = control.now()
    assert now.held == (
        HeldCall(provider="openai", call=2, run="abc", nonces=(5,), gate="g", at="head", read_ns=9),
    )
    assert (now.arrived["openai"], now.open["openai"], now.last_arrival_ns) == (2, 1, None)
    assert now.lists["openai"].last_answered_ns == 17


@respx.mock
def test_the_past_of_fakes_with_another_clock_is_told_by_ours() -> None:
    url, taken_ns, day_ns = "http://10.1.2.3:8002", 10**18, 86_400 * 10**9
    answer = {
        "at_ns": taken_ns,
        "arrived": {},
        "last_arrival_ns": taken_ns - day_ns,
        "open": {},
        "in_flight": {"all": {"now": 0, "peak": 0}},
        "held": [],
        "lists": {"openai": LISTS["openai"] | {"last_answered_ns": taken_ns - 5}},
        "stalled_ns": 0,
    }
    respx.get(f"{url}/control/now").respond(json=answer)
    with Control(url) as control:
        before_ns = time.monotonic_ns()
        now = control.now()
        after_ns = time.monotonic_ns()
    assert now.at_ns == taken_ns
    assert before_ns <= now.taken_ns <= after_ns
    assert now.last_arrival_ns is not None
    assert now.taken_ns <= now.last_arrival_ns + day_ns <= after_ns
    assert now.lists["openai"].last_answered_ns == now.last_arrival_ns + day_ns - 5


@respx.mock
def test_gates_are_opened_and_passed(control: Control) -> None:
    opened = respx.post(f"{URL}/control/gates/g2/open").respond(json={"released": 4, "at_ns": 1})
    passed = respx.post(f"{URL}/control/gates/g2/let-go").respond(json={"released": 1, "at_ns": 1})
    assert control.open_gate("g2") == 4
    assert control.let_go("g2", 1) == 1
    assert opened.call_count == 1
    assert body_of(passed) == {"count": 1}


@respx.mock
def test_list_settings_are_sent_only_when_given(control: Control) -> None:
    route = respx.post(f"{URL}/control/lists").respond(json=LISTS)
    assert control.lists(hold_next=1) == {
        "openai": Lists(fetches=3, open=1, held=1, answered=2, last_answered_ns=17, epoch=4)
    }
    assert body_of(route) == {"hold_next": 1}
    control.lists(provider="openai", epoch=4, delay_s=0.5, status=503)
    assert body_of(route) == {"provider": "openai", "epoch": 4, "delay_s": 0.5, "status": 503}
    control.lists(status=None)
    assert body_of(route) == {"status": None}


@respx.mock
def test_the_other_calls(control: Control) -> None:
    released = respx.post(f"{URL}/control/lists/release").respond(json={"released": 2, "at_ns": 1})
    default = respx.post(f"{URL}/control/default").respond(
        json={"first_s": 0.1, "gap_s": 0.0, "tokens": 4}
    )
    reset = respx.post(f"{URL}/control/reset").respond(json={})
    respx.get(f"{URL}/control/ledger?closed=true").respond(content=b'{"kind":"header"}\n')
    assert control.release_lists() == 2
    assert body_of(released) == {}
    control.release_lists("ollama")
    assert body_of(released) == {"provider": "ollama"}
    assert control.default(first_s=0.1) == Default(first_s=0.1, gap_s=0.0, tokens=4)
    assert body_of(default) == {"first_s": 0.1}
    control.reset()
    assert reset.call_count == 1
    assert control.closed_ledger() == b'{"kind":"header"}\n'


@respx.mock
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(404, json={"detail": "There is no gate so."}), "404: There is no gate so."),
        (httpx.Response(500, text="oh dear"), "500: oh dear"),
        (httpx.Response(200, json={"freed": 1}), "of the same version"),
        (httpx.Response(200, text="<html>"), "of the same version"),
        (httpx.ConnectError("refused"), "ConnectError: refused.*fakes.log"),
        (httpx.ReadTimeout("slow"), "ReadTimeout: slow.*fakes.log"),
    ],
)
def test_every_fault_is_a_harness_error_with_its_reason(
    control: Control, answer: httpx.Response | Exception, message: str
) -> None:
    route = respx.post(f"{URL}/control/gates/g/open")
    if isinstance(answer, Exception):
        route.mock(side_effect=answer)
    else:
        route.mock(return_value=answer)
    with pytest.raises(HarnessError, match=message):
        control.open_gate("g")


def test_proxies_of_the_machine_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with respx.mock, Control(URL) as control:
        respx.post(f"{URL}/control/reset").respond(json={})
        control.reset()
        assert control._client._mounts == {}


def test_fakes_behind_tls_need_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    with (
        https_server(tmp_path, b'{"run":"abc","pid":7,"openai":"","ollama":""}') as server,
        Control(server.url) as client,
        pytest.raises(HarnessError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.health()


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    with start_fakes(tmp_path, "abc") as running:
        yield running


def chat(url: str, prompt: str) -> httpx.Response:
    body = {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}]}
    return http.post(f"{url}/v1/chat/completions", json=body)


def test_against_the_real_fakes(fakes: Fakes) -> None:
    with Control(fakes.control_url, token=fakes.control_token) as control:
        health = control.health()
        assert (health.run, health.openai, health.ollama) == (
            "abc",
            fakes.openai_url,
            fakes.ollama_url,
        )
        control.open_gate("g")
        assert chat(fakes.openai_url, token("abc", 1, hold="head", gate="g")).status_code == 200
        assert control.now().arrived == {"openai": 1, "ollama": 0}
        assert control.let_go("other", 3) == 0
        assert control.lists(epoch=3)["ollama"].epoch == 3
        assert control.lists(provider="openai", hold_next=0, delay_s=0, status=None)
        listed = http.get(f"{fakes.openai_url}/v1/models").text
        assert "openai-epoch-3" in listed
        assert control.now().lists["openai"].answered == 1
        assert control.release_lists() == 0
        assert control.default(tokens=2).tokens == 2
        control.reset()
        assert b'"kind":"header"' in control.closed_ledger()
        with pytest.raises(HarnessError, match=r"422|400"):
            control.lists(epoch=-1)


PATCHED = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from routerspec.processes.control import Control
control = Control(sys.argv[1], token=sys.argv[2])
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        gevent.sleep(0.01)
gevent.spawn(beat)
jobs = [gevent.spawn(control.now) for _ in range(20)]
gevent.joinall(jobs, raise_error=True)
assert len({job.value.at_ns for job in jobs}) == 20
assert beats
print("fine")
"""


def test_in_a_gevent_patched_process(fakes: Fakes) -> None:
    done = subprocess.run(
        own_python("-c", PATCHED, fakes.control_url, fakes.control_token),
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "fine", done.stderr
