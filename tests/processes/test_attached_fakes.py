"""Fakes that run already: which may be used, and how their records come into a run."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from pathlib import Path

import pytest

import fake_providers
from fake_providers.records import evidence, ledger
from routerspec import cli
from routerspec.errors import HarnessError, UsageError
from routerspec.processes import attached_fakes
from routerspec.processes.control import Control

BODY = {"model": "fake-chat", "messages": [{"role": "user", "content": "rs:abc:1::"}]}


def ask_in_vain(url: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(url)


def ask(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
    connection.getresponse().read()
    connection.close()


def calls(folder: Path) -> list[evidence.Call]:
    read = ledger.read_records(folder / "evidence.jsonl", evidence.Evidence)
    assert read.fault == ""
    return [record for record in read.records if isinstance(record, evidence.Call)]


def test_their_records_are_copied_and_they_stay_up(tmp_path: Path) -> None:
    with fake_providers.running(ledger=tmp_path / "theirs.jsonl") as fakes:
        for number in (1, 2):
            folder = tmp_path / str(number)
            folder.mkdir()
            with attached_fakes.borrow(fakes.control_url, folder) as borrowed:
                assert borrowed.openai_url == fakes.openai_url
                ask(borrowed.openai_url)
            assert len(calls(folder)) == number
        ask(fakes.openai_url)


def test_calls_held_before_are_released(tmp_path: Path) -> None:
    with (
        fake_providers.running(ledger=tmp_path / "theirs.jsonl") as fakes,
        Control(fakes.control_url) as control,
    ):
        control.behave("hold=head")
        client = threading.Thread(target=ask, args=(fakes.openai_url,))
        client.start()
        while not control.now().held:
            pass
        with attached_fakes.borrow(fakes.control_url, tmp_path):
            client.join()
            ask(fakes.openai_url)
        assert len(calls(tmp_path)) == 2


def test_those_of_another_run_are_refused(tmp_path: Path) -> None:
    with fake_providers.running(ledger=tmp_path / "theirs.jsonl", run="abc") as fakes:
        borrowed = attached_fakes.borrow(fakes.control_url, tmp_path)
        with pytest.raises(UsageError, match="belong to run abc"), borrowed:
            pass


def test_those_that_keep_no_ledger_are_refused_before_anything_is_played(tmp_path: Path) -> None:
    with fake_providers.running() as fakes:
        borrowed = attached_fakes.borrow(fakes.control_url, tmp_path)
        with pytest.raises(HarnessError, match="without a ledger"), borrowed:
            pytest.fail("it must not come to this")


def test_those_that_lack_a_provider_of_the_target_are_refused(tmp_path: Path) -> None:
    with fake_providers.running(ledger=tmp_path / "theirs.jsonl") as fakes:
        borrowed = attached_fakes.borrow(fakes.control_url, tmp_path, anthropic=True)
        with pytest.raises(UsageError, match="serve no Anthropic"), borrowed:
            pytest.fail("it must not come to this")


def test_a_call_that_never_ends_is_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_fakes, "_IDLE_WITHIN_S", 0.2)
    with (
        fake_providers.running(ledger=tmp_path / "theirs.jsonl") as fakes,
        Control(fakes.control_url) as control,
    ):
        control.behave("stall=0")
        client = threading.Thread(target=ask_in_vain, args=(fakes.openai_url,))
        client.start()
        while not sum(control.now().open.values()):
            pass
        borrowed = attached_fakes.borrow(fakes.control_url, tmp_path)
        with pytest.raises(HarnessError, match="1 calls stay open"), borrowed:
            pass
    client.join()


@pytest.mark.parametrize("options", [[], ["--url", "http://127.0.0.1:1", "--ports", "1,2,3"]])
def test_they_go_with_a_router_that_runs_already(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "--fakes", "http://127.0.0.1:9", *options]) == 2
    assert "--fakes needs --url" in capsys.readouterr().err
