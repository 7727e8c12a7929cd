"""Replicas of a router, the service that they share and the relays between them: each disturbed."""

from __future__ import annotations

import dataclasses
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from routerspec.errors import TargetNotReady
from routerspec.processes.handles import Fakes
from routerspec.processes.operator import Operator
from routerspec.processes.replicas import Cluster, start_cluster
from routerspec.records.observations import Disturbed
from routerspec.records.router_process import Ask
from routerspec.records.run import Settings
from routerspec.targets import Service, Target, read_target

TWO = Settings(cap=4, models_ttl_s=None, replicas=2)

REPLICA = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    with server.accept()[0] as conn:
        conn.sendall(" ".join(sys.argv[2:]).encode())
"""
"""It tells its arguments to whoever connects."""

STORE = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.chdir(sys.argv[2])
while True:
    with server.accept()[0] as conn:
        open("count", "a").write(".")
        conn.sendall(str(os.path.getsize("count")).encode())
"""
"""It counts who connects, in a file."""


def target() -> Target:
    python = f'"{sys.executable}", "-S", "-c"'
    return read_target(
        f"""
name = "toy"
[start]
command = [{python}, '''{REPLICA}''', "{{port}}", "{{replica}}", "{{replicas}}", "{{store_port}}"]
replicas = 2
[[service]]
name = "store"
command = [{python}, '''{STORE}''', "{{store_port}}", "{{dir}}"]
install = "write it"
[routes]
openai = "{{model}}"
""",
        "toy.toml",
    )


FAKES = Fakes(
    child=None, log=Path(), openai_url="http://o", ollama_url="http://l", control_url="http://c",
    ledger=Path(),
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The same one for all tests, each of which leaves it as it was."""
    with start_cluster(target(), TWO, FAKES, tmp_path_factory.mktemp("cluster")) as running:
        yield running


def told(port: int, within_s: float = 5.0) -> str:
    """What is told at this port; empty: nothing comes, or nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=within_s) as sock:
            return sock.recv(100).decode()
    except OSError:
        return ""


def test_each_replica_has_its_number_and_a_relay_of_its_own(cluster: Cluster) -> None:
    (first, second) = (told(router.port).split() for router in cluster.routers)
    assert [first[:2], second[:2]] == [["1", "2"], ["2", "2"]]
    ports = [first[2], second[2], str(cluster.services["store"].port)]
    assert len(set(ports)) == 3
    counts = [int(told(int(port))) for port in ports]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    assert cluster.further_urls == (cluster.routers[1].url,)


def test_replicas_and_services_are_disturbed(cluster: Cluster) -> None:
    operator = Operator(cluster=cluster)
    first, second = cluster.routers
    relays = [port for _, port in cluster.relays.values()]
    store = cluster.services["store"].port

    def disturb(what: Disturbed, replica: int = 0, service: str = "") -> None:
        reply = operator.reply_to(Ask(what=what, replica=replica, service=service))
        assert reply.fault == ""
        assert reply.before_ns < reply.after_ns

    def check(*, reached: set[int], others: set[int]) -> None:
        assert all(told(port) for port in reached)
        assert not any(told(port, 0.1) for port in others)

    disturb("paused", 2)
    check(reached={first.port}, others={second.port})
    disturb("resumed", 2)
    check(reached={second.port}, others=set())
    disturb("killed", 2)
    check(reached={first.port}, others={second.port})
    disturb("started", 2)
    assert told(second.port).split()[:2] == ["2", "2"]
    disturb("cut-off", 1, "store")
    check(reached={relays[1], first.port}, others={relays[0]})
    disturb("rejoined", 1, "store")
    check(reached={*relays}, others=set())
    disturb("gone", service="store")
    check(reached={first.port}, others={*relays})
    disturb("back", service="store")
    assert int(told(store)) > 2
    disturb("restarted", service="store")
    assert told(store) == "2"
    assert cluster.exited() is None
    assert cluster.service_fault() == ""


def test_what_is_not_there_is_not_disturbed(cluster: Cluster) -> None:
    operator = Operator(cluster=cluster)
    for ask, fault in (
        (Ask(what="killed", replica=3), "no replica 3"),
        (Ask(what="gone", service="redis"), "no service 'redis'"),
        (Ask(what="cut-off", replica=1, service="redis"), "no relay to a service 'redis'"),
    ):
        assert fault in operator.reply_to(ask).fault


def test_one_replica_reaches_the_service_itself(tmp_path: Path) -> None:
    one = Settings(cap=4, models_ttl_s=None)
    with start_cluster(target(), one, FAKES, tmp_path) as cluster:
        store = cluster.services["store"]
        assert told(cluster.first.port) == f"1 1 {store.port}"
        assert cluster.relays == {}
        for running in (cluster.first, store):
            assert running.child is not None
            running.child.signal(signal.SIGKILL)
            running.child.wait(5)
        assert cluster.exited() is cluster.first
        assert cluster.service_fault() == "the service store exited with status -9"


def test_a_service_that_is_not_installed_says_how(tmp_path: Path) -> None:
    missing = dataclasses.replace(
        target(), services=(Service(name="store", command=("no-such-store",), install="buy it"),)
    )
    with (
        pytest.raises(TargetNotReady, match=r"The service store cannot be .* install it: buy it"),
        start_cluster(missing, TWO, FAKES, tmp_path),
    ):
        pass
