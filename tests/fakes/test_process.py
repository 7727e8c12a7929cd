"""The process of the fakes: start, announcement, stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import fake_providers
from fake_providers.__main__ import exposure_warning, settings_of
from fake_providers.process import child_environment
from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call, ControlCall, Evidence, ListFetch
from fake_providers.records.ledger import Records, read_records
from tests.fakes.client import chat
from tests.support import http

PATIENCE_S = 10.0


@contextlib.contextmanager
def started(folder: Path, *options: str, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The bare process on free ports, as its command line has it."""
    command = [sys.executable, "-P", "-m", "fake_providers"]
    for name in ("openai", "ollama", "control"):
        command += [f"--{name}-port", "0"]
    command += ["--announce", str(folder / "announce.json"), "--control-token", "none", *options]
    stdin = popen.pop("stdin", subprocess.PIPE)
    child = subprocess.Popen(
        command, stdin=stdin, stderr=subprocess.PIPE, env=child_environment(), **popen
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def announced(folder: Path, child: subprocess.Popen[bytes]) -> dict[str, Any]:
    give_up = time.monotonic() + PATIENCE_S
    while not (folder / "announce.json").exists():
        assert child.poll() is None, "it ended before it began"
        assert time.monotonic() < give_up
        time.sleep(0.01)
    reply: dict[str, Any] = json.loads((folder / "announce.json").read_bytes())
    return reply


def open_request(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A request on a connection of its own, whole but unanswered."""
    host, _, port = url.removeprefix("http://").partition(":")
    data = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def await_held(control: str, count: int) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while len(http.get(f"{control}/control/now").json()["held"]) != count:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def calls(back: Records[Any]) -> list[Call]:
    return [record for record in back.records if isinstance(record, Call)]


def check_account(back: Records[Any]) -> None:
    """The footer's own sums against a second account, made from the records."""
    assert back.footer is not None
    made = calls(back)
    steps = sorted(
        [(call.read_ns, 1) for call in made] + [(call.outer_end_ns, -1) for call in made]
    )
    level = peak = 0
    for _, step in steps:
        level += step
        peak = max(peak, level)
    assert back.footer.account == {
        "calls": len(made),
        "list_fetches": sum(isinstance(record, ListFetch) for record in back.records),
        "peak_open": peak,
        "open_ns": sum(call.outer_end_ns - call.read_ns for call in made),
        "control_changes": sum(isinstance(record, ControlCall) for record in back.records),
        "control_refused": 0,
        "attempts_forgotten": 0,
    }


def test_the_announcement_names_three_servers_that_listen(tmp_path: Path) -> None:
    with started(tmp_path, "--run", "k3") as child:
        reply = announced(tmp_path, child)
        assert reply["pid"] == child.pid
        assert set(reply) == {"pid", "openai", "ollama", "control"}
        health = http.get(reply["control"] + "/control/health").json()
        assert health == {
            "run": "k3",
            "pid": child.pid,
            "profiles": [],
            "openai": reply["openai"],
            "ollama": reply["ollama"],
        }
        assert http.get(reply["openai"] + "/v1/models").status_code == 200
        assert http.get(reply["ollama"] + "/").text == "Ollama is running"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_records_open_calls_and_writes_the_footer(tmp_path: Path, how: int) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), "--run", "k3") as child:
        reply = announced(tmp_path, child)
        prompt = token("k3", 1, hold="head")
        held = [
            open_request(reply["openai"], "/v1/chat/completions", chat(prompt)),
            open_request(reply["ollama"], "/api/chat", chat(prompt)),
            open_request(
                reply["openai"],
                "/v1/chat/completions",
                chat(token("k3", 2, hold="first"), stream=True),
            ),
        ]
        await_held(reply["control"], 3)
        http.post(reply["control"] + "/control/lists", json={"hold_next": 1})
        host, _, port = reply["ollama"].removeprefix("http://").partition(":")
        listing = socket.create_connection((host, int(port)))
        listing.sendall(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n")
        give_up = time.monotonic() + PATIENCE_S
        while http.get(reply["control"] + "/control/now").json()["lists"]["ollama"]["held"] != 1:
            assert time.monotonic() < give_up
        http.post(reply["ollama"] + "/api/chat", json=chat(token("k3", 3)))
        child.send_signal(how)
        assert child.wait(PATIENCE_S) == 0
        for connection in [*held, listing]:
            connection.close()
    back = read_records(ledger, Evidence)
    assert back.fault == ""
    assert sorted(call.ended_by for call in calls(back)) == ["fake"] + ["shutdown"] * 3
    assert [record.answered for record in back.records if isinstance(record, ListFetch)] == [False]
    for call in calls(back):
        assert call.accepted_ns <= call.read_ns <= call.inner_end_ns <= call.outer_end_ns
    check_account(back)


def test_killed_outright_it_keeps_every_call_that_was_answered(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), "--run", "k3") as child:
        reply = announced(tmp_path, child)
        connections = [
            open_request(
                reply["openai"],
                "/v1/chat/completions",
                chat(token("k3", number, hold="head"), stream=number % 2 == 0),
            )
            for number in range(50)
        ]
        await_held(reply["control"], 50)
        http.post(reply["control"] + "/control/gates/default/open")
        seen = set()
        for number, connection in enumerate(connections[:21]):
            mark = b"[DONE]" if number % 2 == 0 else b'"usage"'
            data = b""
            while mark not in data:
                data += connection.recv(65536)
            seen.add(number)
        # A record follows its answer's last byte in the same step; an answer to anything else
        # shows that the step was over.
        http.get(reply["control"] + "/control/now")
        child.kill()
        child.wait(PATIENCE_S)
        for connection in connections:
            connection.close()
    back = read_records(ledger, Evidence)
    assert back.footer is None
    assert "truncated" in back.fault
    recorded = {call.nonces[0] for call in calls(back) if call.finished}
    assert len(seen) == 21
    assert seen <= recorded


def test_it_stops_when_its_standard_input_ends(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--exit-with-stdin", "--ledger", str(ledger)) as child:
        announced(tmp_path, child)
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(PATIENCE_S) == 0
        child.stdin = None
    assert read_records(ledger, Evidence).fault == ""


def test_an_input_that_has_ended_already_stops_it(tmp_path: Path) -> None:
    with started(tmp_path, "--exit-with-stdin", stdin=subprocess.DEVNULL) as child:
        assert child.wait(PATIENCE_S) == 0


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(tmp_path, "--openai-port", str(port)) as child:
            _, errors = child.communicate(timeout=PATIENCE_S)
            assert child.returncode == 1
    assert f"127.0.0.1:{port} is not available" in errors.decode()
    assert b"Traceback" not in errors


@pytest.mark.parametrize("name", ["absent/evidence.jsonl", "there.jsonl"])
def test_a_ledger_that_cannot_be_created_is_one_clear_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.jsonl").touch()
    with started(tmp_path, "--ledger", str(tmp_path / name)) as child:
        _, errors = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 1
    assert str(tmp_path / name) in errors.decode()
    assert b"Traceback" not in errors


def test_a_full_disk_at_the_start_is_one_clear_sentence(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), preexec_fn=lambda: _files_up_to(0)) as child:
        _, errors = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 1
    assert f"The ledger {ledger} cannot be written: File too large." in errors.decode()
    assert b"Traceback" not in errors


def test_a_disk_that_fills_up_ends_the_process_without_a_footer(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), preexec_fn=lambda: _files_up_to(4096)) as child:
        reply = announced(tmp_path, child)
        with contextlib.suppress(httpx.TransportError):
            for number in range(100):
                http.post(reply["ollama"] + "/api/chat", json=chat(token("k3", number)))
        assert child.wait(PATIENCE_S) == 1
        _, errors = child.communicate()
    assert b"disk full?" in errors or b"cannot be written" in errors
    assert read_records(ledger, Evidence).footer is None


def _files_up_to(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    "wrong",
    [["--run", "UPPER"], ["--first", "-1"], ["--tokens", "-1"], ["--openai-port", "70000"]],
)
def test_a_wrong_word_is_a_usage_error(tmp_path: Path, wrong: list[str]) -> None:
    with started(tmp_path, *wrong) as child:
        _, errors = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 2
    assert wrong[0] in errors.decode()


def test_running_ends_its_process_and_hands_over_a_whole_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="k3", options=["--tokens", "1"]) as fakes:
        assert fakes.ledger == ledger
        text = http.post(fakes.ollama_url + "/api/chat", json=chat("hi", stream=False)).json()
        assert "#end1-" in text["message"]["content"]
        os.kill(fakes.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(fakes.pid, 0)
    assert read_records(ledger, Evidence).fault == ""


def test_running_reports_why_the_fakes_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").touch()
    with (
        pytest.raises(fake_providers.FakesFailed, match=r"there\.jsonl cannot be created"),
        fake_providers.running(ledger=tmp_path / "there.jsonl"),
    ):
        pass


def test_a_folder_of_the_users_with_the_same_name_does_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "fake_providers"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (theirs / "__main__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with fake_providers.running() as fakes:
        health = http.get(fakes.control_url + "/control/health").json()
    assert health["pid"] == fakes.pid


def test_without_uvloop_it_behaves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ledger = tmp_path / "evidence.jsonl"
    path = "/v1/chat/completions"
    with fake_providers.running(ledger=ledger, run="k3") as fakes:
        answer = http.post(fakes.openai_url + path, json=chat(token("k3", 1), stream=True))
        assert "#end4-" in answer.text
        with pytest.raises(httpx.ReadError):
            http.post(fakes.openai_url + path, json=chat(token("k3", 2, cut=1)))
        left = open_request(fakes.openai_url, path, chat(token("k3", 3, hold="head")))
        await_held(fakes.control_url, 1)
        left.close()
        await_held(fakes.control_url, 0)
        stays = open_request(fakes.openai_url, path, chat(token("k3", 4, hold="head")))
        await_held(fakes.control_url, 1)
    stays.close()
    back = read_records(ledger, Evidence)
    assert back.fault == ""
    ends = {call.nonces[0]: call.ended_by for call in calls(back)}
    assert ends == {1: "fake", 2: "cut", 3: "peer", 4: "shutdown"}
    check_account(back)


# -- started by hand -------------------------------------------------------------------------


def by_hand(*options: str) -> subprocess.Popen[bytes]:
    """The process on free ports, as a person starts it: nothing is announced to a machine."""
    command = [sys.executable, "-P", "-m", "fake_providers"]
    for name in ("openai", "ollama", "control"):
        command += [f"--{name}-port", "0"]
    return subprocess.Popen(
        [*command, *options],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def banner_of(child: subprocess.Popen[bytes]) -> str:
    """What it prints once it listens."""
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line.decode())
        if line.startswith(b"Stop with Ctrl-C"):
            break
    return "".join(lines)


def test_it_prints_its_addresses_and_the_settings_for_a_router() -> None:
    with by_hand("--profile", "ollama-gpu-8b", "--time-scale", "0.01") as child:
        try:
            text = banner_of(child)
            seed = int(re.findall(r"--seed (\d+)", text)[0])
            assert seed >= 0
            assert "ollama: ollama-gpu-8b" in text
            assert "OPENAI_API_KEY=" in text
            (openai,) = re.findall(r"OPENAI_BASE_URL=(\S+)", text)
            (ollama,) = re.findall(r"OLLAMA_HOST=(\S+)", text)
            assert openai == re.findall(r"ROUTER_OPENAI_URL=(\S+)", text)[0] + "/v1"
            assert ollama == re.findall(r"ROUTER_OLLAMA_URL=(\S+)", text)[0]
            (docs,) = re.findall(r"Control +(\S+)", text)
            assert http.get(openai + "/models").status_code == 200
            assert http.get(ollama + "/").text == "Ollama is running"
            assert "swagger" in http.get(docs).text.lower()
            routes = http.get(docs.removesuffix("/docs") + "/openapi.json").json()["paths"]
            assert "/control/now" in routes
            (control_token,) = re.findall(r"Token +(\S+)", text)
            now = docs.removesuffix("/docs") + "/control/now"
            assert http.get(now).status_code == 401
            bearer = {"Authorization": f"Bearer {control_token}"}
            assert http.get(now, headers=bearer).status_code == 200
        finally:
            child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_S) == 0
        _, errors = child.communicate()
    assert errors == b""


def test_the_default_ports() -> None:
    settings = settings_of([])
    assert settings.ollama_port == 11434
    assert (settings.openai_port, settings.control_port) == (8001, 8002)
    assert settings.host == "127.0.0.1"
    assert settings.profiles == ()


def test_every_taken_port_is_named_in_one_sentence(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [each.getsockname()[1] for each in (one, two)]
        taken = ["--openai-port", str(ports[0]), "--control-port", str(ports[1])]
        with started(tmp_path, *taken) as child:
            _, errors = child.communicate(timeout=PATIENCE_S)
            assert child.returncode == 1
    text = errors.decode().strip()
    assert text.count("\n") == 0
    assert f"openai port 127.0.0.1:{ports[0]} is not available: Address already in use" in text
    assert f"control port 127.0.0.1:{ports[1]} is not available: Address already in use" in text
    assert "ollama" not in text


def test_listening_for_other_machines_prints_one_warning(tmp_path: Path) -> None:
    with started(tmp_path, "--host", "0.0.0.0", "--control-token", "ours-alone") as child:
        announced(tmp_path, child)
        child.terminate()
        _, errors = child.communicate(timeout=PATIENCE_S)
    assert errors.decode().startswith(
        "Warning: the fakes listen on 0.0.0.0, which other machines can reach"
    )
    assert errors.decode().count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_there_is_no_warning_for_loopback(host: str) -> None:
    assert exposure_warning(host) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ["--profile", "gpt-9"],
        ["--profile", "hosted-fast", "--profile", "vllm-8b"],
        ["--time-scale", "0"],
        ["--slots", "0"],
        ["--queue", "none"],
        ["--keep-alive", "nan"],
        ["--read-timeout", "0"],
    ],
)
def test_a_wrong_word_about_slowness_is_a_usage_error(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_of(wrong)
    assert ended.value.code == 2


# -- clients that mean no good ---------------------------------------------------------------


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


@pytest.mark.parametrize("server", ["openai_url", "ollama_url", "control_url"])
@pytest.mark.parametrize(
    "begun",
    [
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["head", "body"],
)
def test_a_trickling_request_is_rejected_and_a_held_call_is_not(server: str, begun: bytes) -> None:
    with fake_providers.running(run="k3", options=["--read-timeout", "0.4"]) as fakes:
        held = open_request(
            fakes.openai_url, "/v1/chat/completions", chat(token("k3", 1, hold="head"))
        )
        await_held(fakes.control_url, 1)
        trickling = connected(getattr(fakes, server))
        trickling.sendall(begun)
        answer = b""
        for _ in range(200):
            with contextlib.suppress(OSError):
                trickling.sendall(b"x")
            trickling.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                answer = read_all(trickling)
                break
        assert answer.startswith(b"HTTP/1.1 408 ")
        trickling.close()
        await_held(fakes.control_url, 1)
        http.post(fakes.control_url + "/control/gates/default/open")
        assert held.recv(65536).startswith(b"HTTP/1.1 200 ")
        held.close()
        assert http.get(fakes.control_url + "/control/now").json()["open"]["openai"] == 0


def test_a_head_without_end_is_cut_off() -> None:
    with fake_providers.running() as fakes:
        endless = connected(fakes.ollama_url)
        endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * 1024 * 1024:
                endless.sendall(b"X-Padding: " + b"x" * 4000 + b"\r\n")
                sent += 4013
        assert sent < 16 * 1024 * 1024
        endless.close()
        assert http.get(fakes.ollama_url + "/").status_code == 200


def test_a_body_of_any_length_is_bounded_on_every_port() -> None:
    with fake_providers.running() as fakes:
        for url, size in (
            (fakes.openai_url + "/v1/chat/completions", 9 * 1024 * 1024),
            (fakes.ollama_url + "/api/chat", 9 * 1024 * 1024),
            (fakes.control_url + "/control/lists", 2 * 1024 * 1024),
        ):
            with httpx.Client(verify=False) as client:
                try:
                    status = client.post(url, content=b" " * size).status_code
                except httpx.WriteError:
                    continue  # Answered and closed before all was sent.
                assert status == 413
            assert http.get(fakes.control_url + "/control/now").status_code == 200


def test_a_keep_alive_connection_between_two_requests_stays_open() -> None:
    with fake_providers.running(options=["--read-timeout", "0.2"]) as fakes:
        with httpx.Client(base_url=fakes.ollama_url, verify=False) as client:
            client.get("/")
            silent = connected(fakes.ollama_url)
            before = client.get("/api/version").extensions["network_stream"]
            address = before.get_extra_info("client_addr")
            time.sleep(0.6)
            again = client.get("/api/version").extensions["network_stream"]
            assert again.get_extra_info("client_addr") == address
        silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"Ollama is running" in read_all(silent)
        silent.close()


def test_a_thousand_idle_connections_block_no_request() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1000 + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this machine does not let a process open so many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle: list[socket.socket] = []
    try:
        with fake_providers.running(run="k3") as fakes:
            for number in range(1000):
                idle.append(connected(fakes.openai_url))
                if number % 2:
                    idle[-1].sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
            for number in range(20):
                answer = http.post(
                    fakes.openai_url + "/v1/chat/completions", json=chat(token("k3", number))
                )
                assert answer.status_code == 200
            for each in idle:
                each.close()
    finally:
        for each in idle:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
