"""Several processes under one cap: lent, given back on every path, and not lost with a worker."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_providers
from fake_providers.process import child_environment
from reference_router.lending import ASK, GIVE_BACK, GRANT, Borrower, Lender, LentLimiter
from tests.router.world import NONCES, RUN, caller, chat_body, until

CAP = 3


def test_permits_are_granted_in_order_over_all_workers() -> None:
    lender, one, other = Lender(2), Borrower(), Borrower()
    lender.hear(one, ASK)
    lender.hear(other, ASK * 2)
    lender.hear(one, ASK)
    assert (one.granted, other.granted, lender.free) == (1, 1, 0)
    lender.hear(one, GIVE_BACK)
    assert (one.granted, other.granted) == (1, 2)
    lender.hear(other, GIVE_BACK)
    assert (one.granted, other.granted) == (2, 2)
    assert (one.holds, other.holds) == (1, 1)


def test_permits_of_a_dead_worker_go_to_the_others() -> None:
    lender, dead, alive = Lender(2), Borrower(), Borrower()
    lender.hear(dead, ASK * 3)
    lender.hear(alive, ASK * 2)
    assert alive.granted == 0
    lender.gone(dead)
    assert (alive.granted, lender.free) == (2, 0)
    lender.hear(alive, GIVE_BACK * 2)
    assert lender.free == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("+-x")), max_size=60))
def test_no_permit_is_lost_or_made(steps: list[tuple[int, str]]) -> None:
    lender, workers = Lender(CAP), [Borrower() for _ in range(3)]
    for index, step in steps:
        worker = workers[index]
        if step == "x":
            lender.gone(worker)
            workers[index] = Borrower()
        elif step == "+":
            lender.hear(worker, ASK)
        elif worker.holds:
            lender.hear(worker, GIVE_BACK)
        assert lender.free >= 0
        assert lender.free + sum(one.holds for one in workers) == CAP


@asynccontextmanager
async def borrowed() -> AsyncIterator[tuple[LentLimiter, socket.socket]]:
    """A worker's limiter, and the other end of its line."""
    ours, its = socket.socketpair()
    ours.setblocking(False)
    limiter = LentLimiter()
    lost = asyncio.Event()
    await limiter.connect(its, lost.set)
    yield limiter, ours
    ours.close()
    await asyncio.wait_for(lost.wait(), 5)


async def received(line: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(line, 100), 5)


async def test_a_permit_is_requested_and_given_back() -> None:
    async with borrowed() as (limiter, line):
        entering = asyncio.create_task(limiter.__aenter__())
        assert await received(line) == ASK
        assert not entering.done()
        line.send(GRANT)
        await entering
        await limiter.__aexit__()
        assert await received(line) == GIVE_BACK


async def test_a_permit_without_a_waiting_client_is_given_back() -> None:
    async with borrowed() as (limiter, line):
        leaving = asyncio.create_task(limiter.__aenter__())
        assert await received(line) == ASK
        leaving.cancel()
        await asyncio.wait([leaving])
        assert limiter.waiting == 0
        line.send(GRANT)
        assert await received(line) == GIVE_BACK


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake_providers.Fakes]:
    ledger = tmp_path_factory.mktemp("fakes") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running


@asynccontextmanager
async def crew(fakes: fake_providers.Fakes) -> AsyncIterator[tuple[psutil.Process, str]]:
    """Two workers and their parent as a process tree of their own, both workers up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ROUTER_OPENAI_URL": fakes.openai_url,
        "ROUTER_OLLAMA_URL": fakes.ollama_url,
        "ROUTER_MAX_CONCURRENCY": str(CAP),
        "ROUTER_WORKERS": "2",
    }
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    started = subprocess.Popen(command, env=child_environment() | settings)  # noqa: ASYNC220
    parent = psutil.Process(started.pid)
    try:
        await until(lambda: both_serve(parent, port), within_s=30)
        yield parent, f"http://127.0.0.1:{port}"
    finally:
        for process in [*parent.children(), parent] if started.poll() is None else []:
            process.kill()
        started.wait()


def both_serve(parent: psutil.Process, port: int) -> bool:
    """Each worker has the port open for clients, as its own socket shows."""
    workers = parent.children()
    return len(workers) == 2 and all(
        any(one.laddr.port == port and one.status == "LISTEN" for one in worker.net_connections())
        for worker in workers
    )


async def held(control: httpx2.AsyncClient) -> int:
    return len((await control.get("/control/now")).json()["held"])


async def queued(control: httpx2.AsyncClient, count: int) -> bool:
    """N calls are held, and no more for as long as a call takes to come through."""
    if await held(control) != count:
        return False
    await asyncio.sleep(0.3)
    return await held(control) == count


async def test_the_cap_is_one_and_survives_a_worker_that_is_killed(
    fakes: fake_providers.Fakes,
) -> None:
    async with (
        crew(fakes) as (parent, url),
        httpx2.AsyncClient(base_url=fakes.control_url, verify=False) as control,
        AsyncExitStack() as clients,
    ):
        for _ in range(8 * CAP):
            body = chat_body("openai", next(NONCES), hold="head", gate="crew")
            await clients.enter_async_context(caller(url, body))
        await until(lambda: queued(control, CAP))
        for worker in parent.children():
            worker.kill()
            await until(lambda: len(parent.children()) == 2)
        await until(lambda: queued(control, 0))
        for _ in range(4 * CAP):
            body = chat_body("openai", next(NONCES), hold="head", gate="crew")
            await clients.enter_async_context(caller(url, body))
        await until(lambda: queued(control, CAP), within_s=30)
        parent.send_signal(signal.SIGTERM)
        workers = parent.children()
        await until(lambda: not any(map(psutil.Process.is_running, workers)))
        await until(lambda: queued(control, 0))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_parent_and_workers_end_together(
    fakes: fake_providers.Fakes, ending: signal.Signals
) -> None:
    async with crew(fakes) as (parent, _):
        workers = parent.children()
        os.kill(parent.pid, ending)
        await until(lambda: not any(map(psutil.Process.is_running, workers)))
        assert parent.wait(10) == (-signal.SIGKILL if ending == signal.SIGKILL else 0)


async def test_a_worker_that_cannot_start_ends_all_of_them() -> None:
    refused = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", NEVER_READY), env=child_environment(), stderr=subprocess.PIPE
    )
    _, output = await asyncio.wait_for(refused.communicate(), 30)
    assert refused.returncode == 1
    assert b"it cannot" in output


NEVER_READY = """
import sys
from reference_router.workers import Crew, listening

def work(listener, line):
    raise RuntimeError("it cannot")

sys.exit(Crew(listening("127.0.0.1", 0), 1, work).run(2))
"""


async def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "reference_router", "--port", str(port)),
            env=child_environment() | {"ROUTER_WORKERS": "2"},
            stderr=subprocess.PIPE,
        )
        _, output = await refused.communicate()
    assert refused.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in output.decode()
