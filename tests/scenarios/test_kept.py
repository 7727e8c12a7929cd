"""Connections that clients of the mixed load keep, against a scripted socket server."""

from __future__ import annotations

import random
import socket
import struct
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_providers.records import ledger
from fake_providers.records.ledger import Ledger
from routerspec.promises import Promises
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.observations import Observation, Record
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.load import mixed_request
from tests.support.scripted_server import Script, read_request, server

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\n{}"
IDLE_TOO_LONG = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def answering(*answers: bytes) -> Script:
    def script(conn: socket.socket) -> None:
        for answer in answers:
            read_request(conn)
            conn.sendall(answer)

    return script


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def a_conductor(host: str, folder: Path, replicas: tuple[str, ...] = ()) -> Conductor:
    route = RoutePlan(
        name="openai", provider="openai", front="openai", path="", model="m", nonsense_model="n",
        modes=("chat",), implied=False,
    )  # fmt: skip
    plan = LoadPlan(
        token="ab", folder=str(folder), control=host, routes=(route,), headers={},
        list_path="/v1/models", promises=Promises(), scenarios=(), seed=1,
        replicas=replicas,
    )  # fmt: skip
    log = Ledger(folder / "observations.jsonl", role="observations", run="ab")
    return Conductor(plan, host, log, lambda exchange, error: None)


def keeping(conductor: Conductor) -> Exchange:
    """A request on a kept connection, where there is one."""
    (route,) = conductor.plan.routes
    exchange = conductor.generation(route, "chat", round_number=1)
    exchange.kept, exchange.timeout_s = conductor.kept, 5.0
    return exchange


def made(conductor: Conductor) -> Exchange:
    exchange = keeping(conductor)
    conductor.make(exchange)
    return exchange


def recorded(conductor: Conductor) -> list[Observation]:
    conductor.log.close({})
    found = ledger.read_records(conductor.log.path, Record)
    assert not found.fault
    return [each for each in found.records if isinstance(each, Observation)]


@pytest.mark.parametrize("first", [WHOLE, REFUSED, CHUNKED], ids=["length", "refused", "chunked"])
def test_a_connection_carries_the_next_request_once_its_answer_was_read(
    first: bytes, tmp_path: Path
) -> None:
    with server(answering(first, WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        assert [made(conductor).status, made(conductor).outcome] == [int(first[9:12]), "answered"]
        conductor.kept.close()


@pytest.mark.parametrize("first", [CLOSING, OLD], ids=["close", "1.0"])
def test_a_connection_that_the_router_means_to_close_is_not_kept(
    first: bytes, tmp_path: Path
) -> None:
    with server(answering(first), answering(WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        assert {made(conductor).outcome for _ in range(2)} == {"answered"}
        conductor.kept.close()


def test_other_requests_have_a_connection_of_their_own(tmp_path: Path) -> None:
    with server(answering(WHOLE), answering(WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        for _ in range(2):
            exchange = keeping(conductor)
            exchange.kept = None
            conductor.make(exchange)
            assert exchange.outcome == "answered"


def test_a_connection_that_was_closed_while_idle_is_not_used(tmp_path: Path) -> None:
    with server(answering(WHOLE), answering(WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        made(conductor)
        time.sleep(0.1)
        second = made(conductor)
        conductor.kept.close()
    assert (second.outcome, second.lost) == ("answered", False)
    assert len(recorded(conductor)) == 2


@pytest.mark.parametrize("how", ["end", "reset", "408"])
def test_a_request_whose_kept_connection_is_closed_before_any_byte_proves_nothing(
    how: str, tmp_path: Path
) -> None:
    def closing(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(WHOLE)
        read_request(conn)
        if how == "reset":
            reset(conn)
        elif how == "408":
            conn.sendall(IDLE_TOO_LONG)

    with server(closing, answering(WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        first, lost, again = (made(conductor) for _ in range(3))
        conductor.kept.close()
    assert (first.outcome, lost.lost, again.outcome) == ("answered", True, "answered")
    clients = recorded(conductor)
    assert [client.nonce for client in clients] == [first.nonce, again.nonce]
    assert [client.reused for client in clients] == [False, False]


def test_an_answer_that_is_cut_on_a_kept_connection_is_the_router_s_failure(
    tmp_path: Path,
) -> None:
    with server(answering(WHOLE, WHOLE[:30])) as host:
        conductor = a_conductor(host, tmp_path)
        made(conductor)
        cut = made(conductor)
    assert (cut.outcome, cut.lost) == ("failed", False)
    clients = recorded(conductor)
    assert [client.outcome for client in clients] == ["answered", "failed"]
    assert [client.reused for client in clients] == [False, True]


def test_a_request_that_is_closed_before_any_byte_on_its_own_connection_is_a_failure(
    tmp_path: Path,
) -> None:
    with server(answering(b"")) as host:
        conductor = a_conductor(host, tmp_path)
        only = made(conductor)
    assert (only.outcome, only.lost) == ("failed", False)
    assert len(recorded(conductor)) == 1


def test_a_client_that_disconnects_keeps_nothing(tmp_path: Path) -> None:
    def waiting(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(WHOLE)
        read_request(conn)
        assert conn.recv(1) == b""

    with server(waiting, answering(WHOLE)) as host:
        conductor = a_conductor(host, tmp_path)
        made(conductor)
        leaving = keeping(conductor)
        leaving.disconnect_after_s = 0.02
        conductor.make(leaving)
        last = made(conductor)
        conductor.kept.close()
    assert (leaving.outcome, leaving.lost, last.outcome) == ("hung_up", False, "answered")


def test_one_in_four_requests_of_the_mixed_load_is_on_a_kept_connection(tmp_path: Path) -> None:
    conductor: Any = a_conductor("http://127.0.0.1:9", tmp_path)
    conductor.rng = random.Random(3)
    exchanges = [mixed_request(conductor, 1) for _ in range(40)]
    assert sum(exchange.kept is conductor.kept for exchange in exchanges) == 10
    assert sum(exchange.kept is None for exchange in exchanges) == 30


def test_idle_connections_are_closed_at_the_end_of_a_round(tmp_path: Path) -> None:
    closed = SimpleNamespace(by_client=False)

    def script(conn: socket.socket) -> None:
        answering(WHOLE)(conn)
        closed.by_client = conn.recv(1) == b""

    with server(script) as host:
        conductor = a_conductor(host, tmp_path)
        with conductor.round("load"):
            made(conductor)
    assert closed.by_client


def test_each_replica_has_kept_connections_of_its_own(tmp_path: Path) -> None:
    with server(answering(WHOLE, WHOLE)) as first, server(answering(WHOLE)) as second:
        conductor = a_conductor(first, tmp_path, replicas=(second,))
        (route,) = conductor.plan.routes
        for replica in (1, 2, 1):
            exchange = conductor.generation(route, "chat", round_number=1, replica=replica)
            exchange.kept = conductor.kept
            conductor.make(exchange)
        conductor.kept.close()
    assert conductor.replicas == 2
    assert [each.replica for each in recorded(conductor)] == [1, 2, 1]
