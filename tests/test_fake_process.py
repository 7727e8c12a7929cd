"""The process of fakes: how it begins, is found, and ends."""

from __future__ import annotations

import contextlib
import json
import os
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
from fake_providers.evidence import Call, Evidence, ListFetch
from fake_providers.ledger import Records, read_records
from fake_providers.process import child_environment
from fake_providers.wants import token

PATIENCE_S = 10.0


@contextlib.contextmanager
def started(folder: Path, *options: str, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The bare process on free ports, as its command line has it."""
    command = [sys.executable, "-P", "-m", "fake_providers"]
    for name in ("openai", "ollama", "control"):
        command += [f"--{name}-port", "0"]
    command += ["--announce", str(folder / "announce.json"), *options]
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
    told: dict[str, Any] = json.loads((folder / "announce.json").read_bytes())
    return told


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}], **more}


def open_request(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A request on a connection of its own, whole but unanswered."""
    host, _, port = url.removeprefix("http://").partition(":")
    data = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    head = f"POST {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def await_held(control: str, count: int) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while len(httpx.get(f"{control}/control/now").json()["held"]) != count:
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
    }


def test_the_announcement_names_three_servers_that_listen(tmp_path: Path) -> None:
    with started(tmp_path, "--run", "k3") as child:
        told = announced(tmp_path, child)
        assert told["pid"] == child.pid
        assert set(told) == {"pid", "openai", "ollama", "control"}
        health = httpx.get(told["control"] + "/control/health").json()
        assert health == {
            "run": "k3",
            "pid": child.pid,
            "openai": told["openai"],
            "ollama": told["ollama"],
        }
        assert httpx.get(told["openai"] + "/v1/models").status_code == 200
        assert httpx.get(told["ollama"] + "/").text == "Ollama is running"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_records_what_is_open_and_writes_the_footer(tmp_path: Path, how: int) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), "--run", "k3") as child:
        told = announced(tmp_path, child)
        prompt = token("k3", 1, hold="head")
        held = [
            open_request(told["openai"], "/v1/chat/completions", chat(prompt)),
            open_request(told["ollama"], "/api/chat", chat(prompt)),
            open_request(
                told["openai"],
                "/v1/chat/completions",
                chat(token("k3", 2, hold="first"), stream=True),
            ),
        ]
        await_held(told["control"], 3)
        httpx.post(told["control"] + "/control/lists", json={"hold_next": 1})
        host, _, port = told["ollama"].removeprefix("http://").partition(":")
        listing = socket.create_connection((host, int(port)))
        listing.sendall(b"GET /api/tags HTTP/1.1\r\nHost: fake\r\n\r\n")
        give_up = time.monotonic() + PATIENCE_S
        while httpx.get(told["control"] + "/control/now").json()["lists"]["ollama"]["held"] != 1:
            assert time.monotonic() < give_up
        httpx.post(told["ollama"] + "/api/chat", json=chat(token("k3", 3)))
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
        told = announced(tmp_path, child)
        connections = [
            open_request(
                told["openai"],
                "/v1/chat/completions",
                chat(token("k3", number, hold="head"), stream=number % 2 == 0),
            )
            for number in range(50)
        ]
        await_held(told["control"], 50)
        httpx.post(told["control"] + "/control/gates/default/open")
        seen = set()
        for number, connection in enumerate(connections[:21]):
            mark = b"[DONE]" if number % 2 == 0 else b'"usage"'
            data = b""
            while mark not in data:
                data += connection.recv(65536)
            seen.add(number)
        # A record follows its answer's last byte in the same step; an answer to anything else
        # shows that the step was over.
        httpx.get(told["control"] + "/control/now")
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
            _, said = child.communicate(timeout=PATIENCE_S)
            assert child.returncode == 1
    assert f"127.0.0.1:{port} cannot be had" in said.decode()
    assert b"Traceback" not in said


@pytest.mark.parametrize("name", ["absent/evidence.jsonl", "there.jsonl"])
def test_a_ledger_that_cannot_be_had_is_one_clear_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.jsonl").touch()
    with started(tmp_path, "--ledger", str(tmp_path / name)) as child:
        _, said = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 1
    assert str(tmp_path / name) in said.decode()
    assert b"Traceback" not in said


def test_a_full_disk_at_the_start_is_one_clear_sentence(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), preexec_fn=lambda: _files_up_to(0)) as child:
        _, said = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 1
    assert f"The ledger {ledger} cannot be written: File too large." in said.decode()
    assert b"Traceback" not in said


def test_a_disk_that_fills_up_ends_the_process_without_a_footer(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with started(tmp_path, "--ledger", str(ledger), preexec_fn=lambda: _files_up_to(4096)) as child:
        told = announced(tmp_path, child)
        with contextlib.suppress(httpx.TransportError):
            for number in range(100):
                httpx.post(told["ollama"] + "/api/chat", json=chat(token("k3", number)))
        assert child.wait(PATIENCE_S) == 1
        _, said = child.communicate()
    assert b"disk full?" in said or b"cannot be written" in said
    assert read_records(ledger, Evidence).footer is None


def _files_up_to(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    "wrong",
    [["--run", "UPPER"], ["--first", "-1"], ["--tokens", "-1"], ["--openai-port", "70000"]],
)
def test_a_wrong_word_is_a_usage_error(tmp_path: Path, wrong: list[str]) -> None:
    with started(tmp_path, *wrong) as child:
        _, said = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 2
    assert wrong[0] in said.decode()


def test_running_ends_its_process_and_hands_over_a_whole_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="k3", options=["--tokens", "1"]) as fakes:
        assert fakes.ledger == ledger
        text = httpx.post(fakes.ollama_url + "/api/chat", json=chat("hi", stream=False)).json()
        assert "#end1-" in text["message"]["content"]
        os.kill(fakes.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(fakes.pid, 0)
    assert read_records(ledger, Evidence).fault == ""


def test_running_tells_why_the_fakes_did_not_start(tmp_path: Path) -> None:
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
        health = httpx.get(fakes.control_url + "/control/health").json()
    assert health["pid"] == fakes.pid


def test_without_uvloop_and_httptools_it_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("uvloop", "httptools"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ledger = tmp_path / "evidence.jsonl"
    path = "/v1/chat/completions"
    with fake_providers.running(ledger=ledger, run="k3") as fakes:
        answer = httpx.post(fakes.openai_url + path, json=chat(token("k3", 1), stream=True))
        assert "#end4-" in answer.text
        with pytest.raises(httpx.ReadError):
            httpx.post(fakes.openai_url + path, json=chat(token("k3", 2, cut=1)))
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
