"""A lease ends by the replica's own clock, and ends what depends on it; slots go by their names."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from reference_router.cluster.lease import SURE, Lease, LeaseLostError
from reference_router.cluster.slots import Slots


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_before_the_first_renewal_nothing_is_admitted() -> None:
    lease = Lease(60.0)
    with pytest.raises(LeaseLostError) as refused:
        async with lease.required():
            pytest.fail("there was no lease")
    assert (refused.value.status, dict(refused.value.headers)) == (503, {"retry-after": "1"})


async def test_it_counts_from_when_its_renewal_was_sent() -> None:
    lease = Lease(60.0)
    lease.renewed(now() - SURE * 60.0 + 30.0)
    assert lease.is_held
    lease.renewed(now() - SURE * 60.0)
    assert not lease.is_held


async def test_what_depends_on_it_ends_when_no_renewal_comes() -> None:
    lease = Lease(0.1)
    lease.renewed(now())
    with pytest.raises(LeaseLostError):
        async with lease.required():
            await asyncio.sleep(60.0)
    assert not lease.is_held


async def test_a_renewal_puts_the_end_off() -> None:
    lease = Lease(0.1)
    lease.renewed(now())
    async with lease.required():
        lease.renewed(now() + 60.0)
        await asyncio.sleep(0.15)
    assert lease.is_held


async def test_a_timeout_of_something_else_is_none_of_its_own() -> None:
    lease = Lease(60.0)
    lease.renewed(now())
    with pytest.raises(TimeoutError):
        async with lease.required():
            raise TimeoutError


async def told(slots: Slots) -> list[tuple[str, str]]:
    await settled()
    return [slots.to_say.get_nowait() for _ in range(slots.to_say.qsize())]


async def test_a_grant_is_for_its_request_and_only_once() -> None:
    lease = Lease(60.0)
    lease.renewed(now())
    slots = Slots("1-a", 4, lease)

    async def hold() -> None:
        async with slots.one():
            await asyncio.sleep(60.0)

    first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
    assert await told(slots) == [("ask", "1-a/1"), ("ask", "1-a/2")]
    assert (slots.held, slots.wanted) == ([], ["1-a/1", "1-a/2"])
    slots.granted(["1-a/1"])
    slots.granted(["1-a/1"])
    assert (slots.held, slots.wanted) == (["1-a/1"], ["1-a/2"])
    assert await told(slots) == []
    second.cancel()
    assert await told(slots) == [("leave", "1-a/2")]
    slots.granted(["1-a/2"])
    assert await told(slots) == [("leave", "1-a/2")]
    first.cancel()
    assert await told(slots) == [("leave", "1-a/1")]
    assert (slots.held, slots.wanted) == ([], [])


async def test_a_grant_that_comes_when_the_lease_is_over_admits_nobody() -> None:
    lease = Lease(60.0)
    lease.renewed(now())
    slots = Slots("1-a", 4, lease)

    async def hold() -> None:
        async with slots.one():
            pytest.fail("it was admitted")

    request = asyncio.create_task(hold())
    await settled()
    lease.lost()
    slots.granted(["1-a/1"])
    with pytest.raises(LeaseLostError):
        await request
    assert slots.held == []


def test_a_router_without_replicas_imports_nothing_of_it() -> None:
    code = (
        "import sys; from reference_router.router import sound_router\n"
        "from reference_router.settings import Settings\n"
        "sound_router(Settings(max_concurrency=4, coordination='static', replicas=2))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(done.stdout.split())
    assert "reference_router.front" in modules
    assert not {"redis", "reference_router.cluster"} & modules
