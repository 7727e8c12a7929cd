"""What is played of the model list, as in ``routerspec.scenarios.models``."""

from __future__ import annotations

from typing import Any

from tests.judge.model.conductor import Conductor, RoundInPlay
from tests.judge.model.fakes import PROVIDERS
from tests.judge.model.virtual_time import Signal

CROWD = 12
COARSE_S = 1.3
FAULTS: dict[str, dict[str, Any]] = {
    "down": {"status": 503},
    "text": {"nonsense": True},
    "shape": {"nonsense": True},
    "hang": {"hold_next": 1_000_000},
}


def _fetches(c: Conductor) -> int:
    return sum(its.fetches for its in c.fakes.lists.values())


def _say(c: Conductor, providers: tuple[str, ...] = PROVIDERS, **told: Any) -> None:
    for provider in providers:
        for name, value in told.items():
            setattr(c.fakes.lists[provider], name, value)


async def wait_expired(c: Conductor, slack: float) -> None:
    answered = max(its.last_answered_ns for its in c.fakes.lists.values())
    expires_s = (answered - c.clock.now) / 1e9 + c.ttl_s + max(slack, 0.1 * c.ttl_s)
    await c.nap(max(0.0, expires_s))


async def smoke_list(c: Conductor) -> None:
    async def play(played: RoundInPlay) -> None:
        await c.nap(0.1)  # A list that was held just now may not have come yet.
        played.ask_list(patience_s=10.0)

    await c.round("smoke", play, part="list")


async def idle(c: Conductor) -> None:
    async def play(_played: RoundInPlay) -> None:
        await c.nap(1.0)

    await c.round("idle", play)


async def list_cold(c: Conductor) -> None:
    await _stampede(c, "list-cold", "")


async def list_expiry(c: Conductor) -> None:
    for attempt in range(3):
        await wait_expired(c, 0.15 if attempt == 0 else COARSE_S)
        if await _stampede(c, "list-expiry", "again" if attempt else ""):
            return


async def _stampede(c: Conductor, scenario: str, part: str) -> bool:
    before = _fetches(c)

    async def play(played: RoundInPlay) -> None:
        _say(c, hold_next=1)
        go = Signal(c.clock)
        for _ in range(CROWD):
            played.ask_list(go)
        await c.nap(0.05)
        go.fire()
        await _wait_quiet(c, played)
        played.release_lists()

    await c.round(scenario, play, part=part)
    return _fetches(c) > before


async def _wait_quiet(c: Conductor, played: RoundInPlay) -> None:
    seen, since = -1, c.clock.now
    give_up = c.clock.now + int(1e9)
    while c.clock.now < give_up:
        written = all(e.sent_ns is not None or e.outcome for e in played.lists)
        if _fetches(c) != seen or not written:
            seen, since = _fetches(c), c.clock.now
        elif c.clock.now - since >= 350_000_000:
            return
        await c.nap(0.02)


async def ensure_fresh(c: Conductor, scenario: str) -> None:
    answered = max(its.last_answered_ns for its in c.fakes.lists.values())
    if c.clock.now - answered > 0.1e9 * c.ttl_s:
        await wait_expired(c, 0.15)

        async def fill(played: RoundInPlay) -> None:
            played.ask_list()

        await c.round(scenario, fill, part="fill")


async def list_warm(c: Conductor) -> None:
    await ensure_fresh(c, "list-warm")

    async def play(played: RoundInPlay) -> None:
        for pause in (0.0, 0.3 * c.ttl_s):
            await c.nap(pause)
            for asked in [played.ask_list() for _ in range(6)]:
                await asked.over.wait(10.0)

    await c.round("list-warm", play)


async def list_refresh(c: Conductor) -> None:
    ttl = c.ttl_s
    await wait_expired(c, 0.15)

    async def play(played: RoundInPlay) -> None:
        _say(c, hold_next=1)
        played.ask_list()
        await c.wait_until(c.fakes.fetch_held, 2.0)
        epoch = played.move_epoch()
        for _ in range(6):
            played.ask_list()
        await c.nap(0.35)
        played.release_lists()
        await _ask_until_gone(c, played, epoch, ttl)

    await c.round("list-refresh", play, part="epoch")


async def _ask_until_gone(c: Conductor, played: RoundInPlay, epoch: int, ttl: float) -> None:
    started = c.clock.now
    seen_at: int | None = None
    pause = min(ttl / 10, 1.0)
    while True:
        asked = played.ask_list()
        await asked.over.wait(10.0)
        now = c.clock.now
        if seen_at is None and asked.epochs and min(asked.epochs.values()) >= epoch:
            seen_at = now
        if seen_at is not None and now - seen_at > (ttl + COARSE_S + 0.15) * 1e9:
            return
        if seen_at is None and now - started > (2 * ttl + COARSE_S + 12 * pause) * 1e9:
            return
        await c.nap(pause)


async def list_slow(c: Conductor) -> None:
    ttl = c.ttl_s
    await wait_expired(c, 0.15)

    async def play(played: RoundInPlay) -> None:
        _say(c, hold_next=1)
        first = played.ask_list()
        await c.wait_until(c.fakes.fetch_held, 2.0)
        await c.nap(0.8 * ttl)
        played.release_lists()
        await first.over.wait(10.0)
        await c.nap(0.4 * ttl)
        played.ask_list()

    await c.round("list-slow", play, part="slow")


async def list_behind_cap(c: Conductor) -> None:
    if await _full(c, "cold"):
        await _full(c, "warm")
        await wait_expired(c, 0.15)
        await _full(c, "expired")


async def _full(c: Conductor, part: str) -> bool:
    route, mode = c.first()

    async def play(played: RoundInPlay) -> bool:
        for _ in range(2 * c.limit):
            played.ask(route, mode, hold="head")
        if not await played.wait_held(c.limit):
            return False
        await played.snapshot(settled=False)
        lists = []
        for _ in range(3):
            lists.append(played.ask_list())
            await lists[-1].over.wait(0.15)
        give_up = c.clock.now + int(0.95e9)
        for asked in lists:
            await asked.over.wait(max(0.0, (give_up - c.clock.now) / 1e9))
        answered = any(asked.outcome for asked in lists)
        await played.snapshot(settled=False)
        return answered

    return bool(
        await c.round("list-behind-cap", play, route=route, mode=mode, gate=True, part=part)
    )


async def list_left(c: Conductor) -> None:
    async def leave(played: RoundInPlay) -> bool:
        _say(c, hold_next=1)
        leader = played.ask_list()
        await c.wait_until(c.fakes.fetch_held, 2.0)
        others = [played.ask_list(patience_s=10.0) for _ in range(8)]
        await c.wait_until(lambda: all(e.sent_ns or e.outcome for e in others), 2.0)
        await c.nap(0.15)
        left = leader.leave()
        await c.nap(0.3)
        played.release_lists()
        return left

    if not await c.round("list-left", leave):
        await wait_expired(c, COARSE_S)
        await c.round("list-left", leave, part="again")


async def list_by_id(c: Conductor) -> None:
    async def find(played: RoundInPlay) -> str:
        whole = played.ask_list()
        await whole.over.wait(10.0)
        return next(iter(sorted(whole.epochs)), "")

    provider = await c.round("list-by-id", find, part="find")
    if not provider:
        return
    await ensure_fresh(c, "list-by-id")

    async def play(played: RoundInPlay) -> None:
        for pause in (0.0, 0.2 * c.ttl_s):
            await c.nap(pause)
            for asked in [played.ask_list(model=f"{provider}/fake-chat") for _ in range(5)]:
                await asked.over.wait(10.0)

    await c.round("list-by-id", play, part="ask")


async def list_dead(c: Conductor) -> None:
    shown = await _all_there(c, frozenset())
    if len(shown) < 2:
        return
    for provider in sorted(shown)[c.rng.randrange(2) :]:
        if await _all_there(c, shown) < shown:
            return
        await wait_expired(c, 0.15)
        for how in FAULTS:
            if not await _dead(c, provider, how):
                return


async def _all_there(c: Conductor, wanted: frozenset[str]) -> frozenset[str]:
    give_up = c.clock.now + int((min(c.promises.recovery_s, 5.0) + 1.0) * 1e9)

    async def play(played: RoundInPlay) -> frozenset[str]:
        while True:
            asked = played.ask_list()
            await asked.over.wait(10.0)
            shown = frozenset(asked.epochs)
            enough = shown >= wanted if wanted else len(shown) > 1
            if enough or c.clock.now > give_up:
                return shown
            await c.nap(0.2)

    came = await c.round("list-dead", play, part="well")
    assert isinstance(came, frozenset)
    return came


async def _dead(c: Conductor, provider: str, how: str) -> bool:
    late = 0
    for slack in (0.0, 0.15, COARSE_S, COARSE_S):
        await (wait_expired(c, slack) if slack else c.nap(0.2))
        before = c.fakes.lists[provider].fetches
        in_time = await _dead_once(c, provider, how)
        late += not in_time
        if c.fakes.lists[provider].fetches > before and in_time:
            return True
        if late == 3:
            return False
    return True


async def _dead_once(c: Conductor, provider: str, how: str) -> bool:
    lists = c.promises.model_list
    assert lists is not None
    _say(c, (provider,), **FAULTS[how])

    async def play(played: RoundInPlay) -> bool:
        asked = [played.ask_list() for _ in range(2)]
        give_up = c.clock.now + int((lists.partial_within_s + 0.5) * 1e9)
        for one in asked:
            await one.over.wait(max(0.0, (give_up - c.clock.now) / 1e9))
        if how == "hang":
            played.release_lists()
        for one in asked:
            await one.over.wait()
        took = [one.end_ns - (one.sent_ns or one.started_ns) for one in asked]
        return all(ns <= lists.partial_within_s * 1e9 for ns in took)

    came = await c.round("list-dead", play, part=f"{provider} {how}")
    _say(c, (provider,), status=None, nonsense=False, hold_next=0)
    return bool(came)


async def list_failing(c: Conductor) -> None:
    for slack in (0.15, COARSE_S):
        await wait_expired(c, slack)
        if await _fail(c):
            break
    await _ask_on(c)
    await wait_expired(c, COARSE_S)
    _say(c, status=500)

    async def one_by_one(played: RoundInPlay) -> None:
        for _ in range(20):
            await played.ask_list().over.wait(10.0)
            await c.nap(0.01)

    await c.round("list-failing", one_by_one, part="one by one")
    _say(c, status=None)


async def _fail(c: Conductor) -> bool:
    before = _fetches(c)
    _say(c, status=500)

    async def play(played: RoundInPlay) -> None:
        for asked in [played.ask_list() for _ in range(2)]:
            await asked.over.wait(10.0)

    await c.round("list-failing", play, part="failing")
    _say(c, status=None)
    return _fetches(c) > before


async def _ask_on(c: Conductor) -> None:
    await c.nap(min(c.promises.recovery_s, 5.0))
    give_up = c.clock.now + int((c.ttl_s + COARSE_S) * 1e9)
    fetched = sum(its.fetches > 0 for its in c.fakes.lists.values())

    async def play(played: RoundInPlay) -> None:
        while c.clock.now < give_up:
            asked = played.ask_list()
            await asked.over.wait(10.0)
            if asked.outcome and len(asked.epochs) == fetched:
                return
            await c.nap(min(0.04 * c.ttl_s, 0.1))

    await c.round("list-failing", play, part="well again")
