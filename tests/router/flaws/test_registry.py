"""Each deliberate defect shows in a few lines, and the sound router does not have it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable

import pytest

from reference_router.answer import Answer, ApiError, Malformed, understood
from reference_router.flaws import FAMILIES, FLAWS
from reference_router.front import Job
from reference_router.router import Router
from tests.router.flaws import table
from tests.router.flaws.in_memory import CAP, World, cards, ignore, turns


def test_the_registry_is_whole() -> None:
    assert len(FLAWS) == sum(len(family.FLAWS) for family in FAMILIES)
    for name, flaw in FLAWS.items():
        assert flaw.name == name
        assert flaw.story.endswith(".")
        assert flaw.trips
        assert not set(flaw.trips) & set(flaw.also)
        assert all(flaw.also.values())


@pytest.mark.parametrize(
    ("flaw", "route", "hold_body", "expected"),
    [
        ("", "openai", False, CAP),
        ("", "openai", True, CAP),
        ("", "agent", True, CAP),
        ("provider-outside-cap", "openai", False, 5 * CAP),
        ("provider-outside-cap", "ollama", True, 5 * CAP),
        ("provider-outside-cap", "agent", False, CAP),
        ("provider-outside-cap", "rag", True, CAP),
        ("permit-freed-at-head", "openai", False, CAP),
        ("permit-freed-at-head", "openai", True, 5 * CAP),
        ("permit-freed-at-head", "agent", True, 5 * CAP),
        ("one-permit-too-many", "rag", False, CAP + 1),
        ("one-permit-too-many", "ollama", True, CAP + 1),
        ("one-at-a-time", "openai", False, 1),
        ("models-no-lock", "openai", True, CAP),
        ("models-request-semaphore", "openai", True, CAP),
        ("models-no-second-look", "openai", True, CAP),
    ],
)
async def test_how_many_are_open_at_once(
    flaw: str, route: str, hold_body: bool, expected: int
) -> None:
    assert await World(flaw).peak(route, hold_body=hold_body) == expected


@pytest.mark.parametrize(
    ("flaw", "cap", "expected"),
    [
        ("", CAP, 1),
        ("", None, 1),
        ("models-no-lock", CAP, 10),
        ("models-no-lock", None, 10),
        ("models-request-semaphore", CAP, CAP),
        ("models-request-semaphore", None, 10),
        ("models-no-second-look", CAP, 10),
        ("models-no-second-look", None, 10),
        ("permit-freed-at-head", CAP, 1),
        ("one-permit-too-many", None, 1),
    ],
)
async def test_how_many_fetches_an_expiry_causes(flaw: str, cap: int | None, expected: int) -> None:
    assert await World(flaw, cap).list_fetches() == expected


async def test_no_lock_lets_an_old_answer_overwrite_a_newer_one() -> None:
    world = World("models-no-lock")
    requests = [asyncio.create_task(world.router.models.get()) for _ in range(2)]
    await turns()
    old, new = world.fetched
    new.set_result(cards("new"))
    await turns()
    old.set_result(cards("old"))
    await asyncio.gather(*requests)
    assert await world.router.models.get() == {"one": cards("old")}


@pytest.mark.parametrize(
    ("flaw", "blocked"),
    [("models-request-semaphore", True), ("", False), ("models-no-lock", False)],
)
async def test_only_the_request_semaphore_delays_the_list_when_all_slots_are_occupied(
    flaw: str, blocked: bool
) -> None:
    world = World(flaw)
    job = Job(route="openai", open=lambda: world._opened(False))
    chats = [asyncio.create_task(world.router.front.serve(job, ignore)) for _ in range(CAP)]
    await turns()
    request = asyncio.create_task(world.router.models.get())
    await turns()
    assert (not world.fetched) is blocked
    world.gate.set()
    await turns()
    world.fetched[0].set_result(cards("a"))
    await asyncio.gather(request, *chats)


@pytest.mark.parametrize(("flaw", "fetches"), [("models-request-semaphore", 2), ("", 1)])
async def test_only_the_request_semaphore_stores_a_slow_list_half_expired(
    flaw: str, fetches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, now = World(flaw), [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(world.router.models, "_clock", clock)
    first = asyncio.create_task(world.router.models.get())
    await turns()
    now[0] = 800.0  # of 1000
    world.fetched[0].set_result(cards("a"))
    await first
    now[0] = 1200.0
    second = asyncio.create_task(world.router.models.get())
    await turns()
    assert len(world.fetched) == fetches
    if fetches == 2:
        world.fetched[1].set_result(cards("a"))
    assert await second == {"one": cards("a")}


async def test_a_defect_of_the_cap_does_not_change_a_router_without_cap() -> None:
    assert World("one-permit-too-many", None).router.front.limiter.free is None
    assert World("one-at-a-time", None).router.front.limiter.free is None


LEAKS = tuple(name for name in FLAWS if name.startswith("leak-on-"))


@pytest.mark.parametrize("ending", [name.removeprefix("leak-on-") for name in LEAKS])
@pytest.mark.parametrize("flaw", ["", *LEAKS])
async def test_a_leak_loses_a_permit_by_its_own_ending_alone(flaw: str, ending: str) -> None:
    world = World(flaw)
    limiter = world.router.front.limiter
    await end(world.router, ending)
    assert limiter.free == CAP - (flaw == f"leak-on-{ending}")
    await end(world.router, "")
    assert limiter.free == CAP - (flaw == f"leak-on-{ending}")


@pytest.mark.parametrize("sentence", ["The provider's answer cannot be understood.", "No JSON."])
@pytest.mark.parametrize("malformed", [True, False])
async def test_a_leak_goes_by_the_cause_of_an_error_and_not_by_its_sentence(
    malformed: bool, sentence: str
) -> None:
    async def opened() -> Answer:
        with understood(502, sentence):
            raise ValueError("not JSON") if malformed else ApiError(502, sentence)

    flaw = "leak-on-malformed" if malformed else "leak-on-reset"
    for name in ("leak-on-malformed", "leak-on-reset"):
        router = World(name).router
        await router.front.serve(Job(route="openai", open=opened), ignore)
        assert router.front.limiter.free == CAP - (name == flaw)


async def end(router: Router, ending: str) -> None:
    """One request that ends in this way; empty: well."""
    gate = asyncio.Event()
    failures = {
        "error": ApiError(500, "The provider failed."),
        "reset": ApiError(502, "The connection to the provider failed: ReadError"),
        "timeout": ApiError(504, "The provider did not answer in time."),
        "malformed": Malformed(502, "The provider's answer cannot be understood."),
    }

    async def opened() -> Answer:
        if ending in failures:
            raise failures[ending]
        if ending in {"hang-up-before-head", "hang-up-non-streaming"}:
            await gate.wait()
        return Answer(body=body() if ending else b"{}")

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"first"
        if ending == "cut":
            raise ApiError(502, "The stream broke off.")
        await gate.wait()

    job = Job(route="openai", stream=ending in {"cut", *STREAMED}, open=opened)
    serve = router.front.serve
    if ending == "hang-up-queued":
        held = [asyncio.create_task(router.front.limiter.__aenter__()) for _ in range(CAP)]
        await turns()
    task = asyncio.create_task(serve(job, ignore))
    await turns()
    if ending.startswith("hang-up"):
        task.cancel()
    await asyncio.wait((task,))
    if ending == "hang-up-queued":
        for entered in held:
            await entered
            await router.front.limiter.__aexit__()
    await turns()


STREAMED = {"hang-up-before-head", "hang-up-mid-stream"}


def test_the_readme_has_every_flaw() -> None:
    text = table.README.read_text(encoding="utf-8")
    assert all(row in text.splitlines() for row in table.rows())
    assert table.with_rows(text) == text


def test_the_router_has_no_privileges() -> None:
    script = "import sys, reference_router.server, reference_router.flaws; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    ).stdout.split()
    assert "reference_router.flaws" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"fake_providers", "routerspec"}
