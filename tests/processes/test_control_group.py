"""Two instances of a provider driven as one, against their real processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call, Evidence
from fake_providers.records.ledger import read_records
from routerspec.errors import HarnessError
from routerspec.processes.control_group import ControlGroup
from routerspec.processes.handles import Fakes
from routerspec.processes.launch import start_fakes
from tests.support import http
from tests.support.processes import is_zombie


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    folder = tmp_path_factory.mktemp("fakes")
    with start_fakes(folder, "abc", instances={"openai": 2, "ollama": 1}) as running:
        yield running


@pytest.fixture
def control(fakes: Fakes) -> Iterator[ControlGroup]:
    access = fakes.access
    with ControlGroup(access.url, access.further, token=access.token) as group:
        group.reset()
        yield group


def chat(url: str, nonce: int, **directives: str) -> httpx.Response:
    content = token("abc", nonce, **directives)
    body = {"model": "fake-chat", "messages": [{"role": "user", "content": content}]}
    return http.post(f"{url}/v1/chat/completions", json=body)


def test_the_urls_of_all_instances_are_placeholders(fakes: Fakes) -> None:
    first, second = fakes.urls["openai_url"], fakes.urls["openai_url_2"]
    assert fakes.urls["openai_urls"] == f"{first},{second}"
    assert fakes.urls["ollama_urls"] == fakes.urls["ollama_url"]
    assert first != second


def test_what_all_hold_is_one_answer(fakes: Fakes, control: ControlGroup) -> None:
    urls = [fakes.urls["openai_url"], fakes.urls["openai_url_2"], fakes.urls["openai_url_2"]]
    nonces = [11, 12, 13]
    clients = [
        threading.Thread(target=chat, args=(url, nonce), kwargs={"hold": "head", "gate": "g"})
        for url, nonce in zip(urls, nonces, strict=True)
    ]
    for client in clients:
        client.start()
    while len((now := control.now()).held) < len(clients):
        pass
    assert {(call.provider, call.nonces[0]) for call in now.held} == {
        ("openai", 11),
        ("openai-2", 12),
        ("openai-2", 13),
    }
    assert now.open == {"openai": 1, "ollama": 0, "openai-2": 2}
    assert now.in_flight.all.now == 3
    assert now.at["openai-2"] < now.at_ns
    assert now.last_arrival_ns == max(call.read_ns for call in now.held)
    oldest = sorted(now.held, key=lambda call: call.read_ns)[:2]
    assert control.let_go("g", 2) == 2
    while len((now := control.now()).held) > 1:
        pass
    assert now.held[0] not in oldest
    assert control.open_gate("g") == 1
    for client in clients:
        client.join()


def test_a_call_about_one_instance_reaches_no_other(fakes: Fakes, control: ControlGroup) -> None:
    first, second = fakes.urls["openai_url"], fakes.urls["openai_url_2"]

    def statuses() -> list[int]:
        return [chat(url, 20).status_code for url in (first, second)]

    control.behave("status=503", provider="openai-2")
    assert statuses() == [200, 503]
    control.behave_as_told()
    control.behave("status=503", provider="openai-1")
    assert statuses() == [503, 200]
    control.behave_as_told()
    control.behave("status=503", provider="openai")
    assert statuses() == [503, 503]
    control.behave_as_told()
    control.behave("status=503", provider="ollama")
    assert statuses() == [200, 200]


def test_lists_have_one_epoch_and_one_name(fakes: Fakes, control: ControlGroup) -> None:
    lists = control.lists(epoch=7)
    assert {name: state.epoch for name, state in lists.items()} == {
        "openai": 7,
        "ollama": 7,
        "openai-2": 7,
    }
    for name in ("openai_url", "openai_url_2"):
        assert "openai-epoch-7" in http.get(f"{fakes.urls[name]}/v1/models").text
    assert control.lists(provider="openai-2", status=503).keys() == {"openai-2"}
    answers = [http.get(f"{fakes.urls[n]}/v1/models") for n in ("openai_url", "openai_url_2")]
    assert [answer.status_code for answer in answers] == [200, 503]


def test_every_change_is_counted_where_it_is_obeyed(fakes: Fakes) -> None:
    access = fakes.access
    with ControlGroup(access.url, access.further, token=access.token) as group:
        group.reset()
        group.behave("tokens=2", provider="openai-2")
        group.behave_as_told()
        assert group.changes == 5


def test_an_answer_names_its_instance_and_each_has_its_own_file(tmp_path: Path) -> None:
    with start_fakes(tmp_path, "abc", instances={"openai": 2}) as fakes:
        text = chat(fakes.urls["openai_url_2"], 5).json()["choices"][0]["message"]["content"]
        assert text.startswith("5@openai-2-1#0 ")
        (second,) = fakes.further
        assert second.child is not None
        second.child.stop()
    assert is_zombie(second.child.pid)
    for ledger, providers in ((fakes.ledger, []), (second.ledger, ["openai-2"])):
        records = read_records(ledger, Evidence)
        assert records.fault == ""
        assert [r.provider for r in records.records if isinstance(r, Call)] == providers


def test_one_that_cannot_start_leaves_none_behind(tmp_path: Path) -> None:
    (tmp_path / "evidence-openai-2.jsonl").write_text("an earlier run\n")
    with pytest.raises(HarnessError, match="evidence-openai-2"):
        start_fakes(tmp_path, "abc", instances={"openai": 2})
    assert (tmp_path / "evidence.jsonl").read_bytes().endswith(b"}\n"), "the first was stopped"
