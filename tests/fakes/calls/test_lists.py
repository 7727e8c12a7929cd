"""Model lists: epochs, held and failing fetches, and what is recorded of each."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.records.evidence import ListFetch
from tests.fakes.wire import whole_lines
from tests.support import http

PATIENCE_S = 10.0
ROUTES = {"openai": "/v1/models", "ollama": "/api/tags"}
epochs = itertools.count(1)
connections: list[socket.socket] = []


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("lists") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger) as running:
        yield running


@pytest.fixture(autouse=True)
def lists_as_new(fakes: Fakes) -> Iterator[None]:
    yield
    while connections:
        connections.pop().close()
    http.post(f"{fakes.control_url}/control/reset")


def control(fakes: Fakes, word: str, **body: Any) -> dict[str, Any]:
    answer = http.post(f"{fakes.control_url}/control/{word}", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def lists(fakes: Fakes) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = http.get(f"{fakes.control_url}/control/now").json()["lists"]
    return told


def until(fakes: Fakes, reached: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not reached(told := lists(fakes)):
        assert time.monotonic() < give_up, told
        time.sleep(0.005)


def url(fakes: Fakes, provider: str) -> str:
    return fakes.openai_url if provider == "openai" else fakes.ollama_url


def listed(fakes: Fakes, provider: str) -> list[str]:
    answer = http.get(url(fakes, provider) + ROUTES[provider]).json()
    if provider == "openai":
        return [model["id"] for model in answer["data"]]
    return [model["model"] for model in answer["models"]]


def begin_fetch(fakes: Fakes, provider: str) -> socket.socket:
    host, _, port = url(fakes, provider).removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connections.append(connection)
    head = f"GET {ROUTES[provider]} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def read_all(connection: socket.socket) -> bytes:
    data = bytearray()
    while part := connection.recv(65536):
        data += part
    return bytes(data)


def fetches(fakes: Fakes) -> list[ListFetch]:
    assert fakes.ledger is not None
    # Whoever answers this has recorded everything that it answered before.
    lists(fakes)
    lines = whole_lines(fakes.ledger)
    return [msgspec.json.decode(line, type=ListFetch) for line in lines if b'"list_fetch"' in line]


def last_fetch(fakes: Fakes, number: int) -> ListFetch:
    """The last recorded fetch, once ``number`` are recorded."""
    give_up = time.monotonic() + PATIENCE_S
    while len(found := fetches(fakes)) < number:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return found[-1]


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_the_list_carries_the_epoch(fakes: Fakes, provider: str) -> None:
    epoch, tag = next(epochs), ":latest" if provider == "ollama" else ""
    before = lists(fakes)[provider]
    told = control(fakes, "lists", epoch=epoch)
    assert told["openai"]["epoch"] == told["ollama"]["epoch"] == epoch
    names = [f"fake-chat{tag}", f"fake-embed{tag}", f"{provider}-epoch-{epoch}{tag}"]
    names += ["fake-think:latest"] if provider == "ollama" else []
    assert listed(fakes, provider) == names
    after = lists(fakes)[provider]
    assert after["fetches"] == before["fetches"] + 1
    assert after["answered"] == before["answered"] + 1
    assert (after["open"], after["held"], after["epoch"]) == (0, 0, epoch)
    fetch = fetches(fakes)[-1]
    assert (fetch.provider, fetch.route, fetch.epoch) == (provider, ROUTES[provider], epoch)
    assert (fetch.held, fetch.answered, fetch.status) == (False, True, 200)
    assert fetch.read_ns < fetch.inner_end_ns < fetch.outer_end_ns == after["last_answered_ns"]


def test_one_providers_epoch_may_move_alone(fakes: Fakes) -> None:
    epoch = next(epochs)
    told = control(fakes, "lists", epoch=epoch, provider="ollama")
    assert told["ollama"]["epoch"] == epoch
    assert told["openai"]["epoch"] != epoch


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_a_held_fetch_answers_with_the_epoch_of_its_arrival(fakes: Fakes, provider: str) -> None:
    old, new = next(epochs), next(epochs)
    before = lists(fakes)[provider]["fetches"]
    control(fakes, "lists", epoch=old, hold_next=1)
    held = begin_fetch(fakes, provider)
    until(fakes, lambda told: told[provider]["held"] == 1)
    assert lists(fakes)[provider]["open"] == 1
    control(fakes, "lists", epoch=new)
    # Only the next one was to be held.
    assert f"{provider}-epoch-{new}" in str(listed(fakes, provider))
    released = control(fakes, "lists/release", provider=provider)
    assert released["released"] == 1
    assert f"{provider}-epoch-{old}".encode() in read_all(held)
    mine = [one for one in fetches(fakes) if one.provider == provider and one.fetch > before]
    assert [(one.fetch - before, one.epoch, one.held) for one in mine] == [
        (2, new, False),
        (1, old, True),
    ]
    assert released["at_ns"] < mine[-1].inner_end_ns


def test_a_release_ends_the_holding_too(fakes: Fakes) -> None:
    control(fakes, "lists", hold_next=5)
    held = [begin_fetch(fakes, "openai"), begin_fetch(fakes, "ollama")]
    until(fakes, lambda told: (told["openai"]["held"], told["ollama"]["held"]) == (1, 1))
    assert control(fakes, "lists/release")["released"] == 2
    for connection in held:
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    assert listed(fakes, "openai")
    assert lists(fakes)["openai"]["held"] == 0


def test_a_release_of_one_provider_leaves_the_other_held(fakes: Fakes) -> None:
    control(fakes, "lists", hold_next=1)
    begin_fetch(fakes, "openai")
    begin_fetch(fakes, "ollama")
    until(fakes, lambda told: (told["openai"]["held"], told["ollama"]["held"]) == (1, 1))
    assert control(fakes, "lists/release", provider="openai")["released"] == 1
    assert lists(fakes)["ollama"]["held"] == 1


def test_a_hang_up_on_a_held_fetch_is_recorded_as_unanswered(fakes: Fakes) -> None:
    before = len(fetches(fakes))
    answered = lists(fakes)["openai"]["answered"]
    control(fakes, "lists", hold_next=1)
    held = begin_fetch(fakes, "openai")
    until(fakes, lambda told: told["openai"]["held"] == 1)
    held.close()
    fetch = last_fetch(fakes, before + 1)
    assert (fetch.held, fetch.answered, fetch.status) == (True, False, None)
    assert fetch.peer_closed_ns == fetch.inner_end_ns == fetch.outer_end_ns
    told = lists(fakes)["openai"]
    assert (told["open"], told["held"], told["answered"]) == (0, 0, answered)


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_a_list_may_fail_and_be_slow_until_told_otherwise(fakes: Fakes, provider: str) -> None:
    control(fakes, "lists", status=503, delay_s=0.05)
    assert http.get(url(fakes, provider) + ROUTES[provider]).status_code == 503
    fetch = fetches(fakes)[-1]
    assert (fetch.status, fetch.answered) == (503, True)
    assert fetch.inner_end_ns - fetch.read_ns > 49_000_000
    control(fakes, "lists", status=None)
    assert http.get(url(fakes, provider) + ROUTES[provider]).status_code == 200
    assert fetches(fakes)[-1].inner_end_ns - fetches(fakes)[-1].read_ns > 49_000_000


def test_reading_one_model_or_asking_for_the_head_is_no_fetch(fakes: Fakes) -> None:
    before = lists(fakes)
    assert http.get(fakes.openai_url + "/v1/models/fake-chat").status_code == 200
    assert http.head(fakes.ollama_url + "/api/tags").status_code == 200
    assert lists(fakes) == before
