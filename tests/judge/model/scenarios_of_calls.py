"""What is played of calls: held, burst, failed, left, queued, loaded.

As in ``routerspec.scenarios``, with as few routes and clients as a history can do with.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from routerspec.limits import SLOTS_FREE
from tests.judge.model.clients import Client
from tests.judge.model.conductor import APART_S, Conductor, RoundInPlay
from tests.judge.model.story import ROUTES
from tests.judge.model.virtual_time import Signal

OFFERED = 5
LATER_S = 2.0


AGAIN_AFTER_S = (0.2, 0.6)
FOR_NOW = frozenset({429, 503})


async def smoke(c: Conductor) -> None:
    """Each route and mode, and a model that does not exist; again where no slot was free."""
    for route, mode in c.story.cells:
        await _smoke(c, route, mode, "route")
    await _smoke(c, *c.first(), "nonsense", model="nonsense")


async def _smoke(c: Conductor, route: str, mode: str, part: str, **asked: Any) -> None:
    async def one(played: RoundInPlay) -> int | None:
        client = played.ask(route, mode, patience_s=10.0, **asked)
        await client.over.wait()
        return client.status

    for pause_s in (0.0, *AGAIN_AFTER_S):
        await c.nap(pause_s)
        if await c.round("smoke", one, route=route, mode=mode, part=part) not in FOR_NOW:
            return


async def _room(c: Conductor) -> None:
    """A router with one slot that rejects may refuse whoever comes as the last answer is read."""
    cap = c.promises.cap
    if cap is not None and (cap.overload == "reject" or cap.queue_limit == 0):
        await c.nap(0.1)


# -- the cap, at rest ------------------------------------------------------------------------------


async def held_round(
    c: Conductor, scenario: str, route: str, mode: str, *, hold: str = "head", part: str = ""
) -> int:
    async def play(played: RoundInPlay) -> int:
        for _ in range(OFFERED * c.limit):
            played.ask(route, mode, hold=hold)
        return await played.snapshot_twice()

    came = await c.round(scenario, play, route=route, mode=mode, gate=True, part=part)
    assert isinstance(came, int)
    return came


async def hold_head(c: Conductor) -> None:
    for route, mode in c.story.cells:
        if await held_round(c, "hold-head", route, mode) < c.limit:
            await held_round(c, "hold-head", route, mode, part="again")


async def hold_first(c: Conductor) -> None:
    for route in c.routes_with("stream"):
        await held_round(c, "hold-first", route, "stream", hold="first")


async def hold_across(c: Conductor) -> None:
    routes = c.routes_with("chat")
    for route in routes if len(routes) > 1 else []:
        others = [other for other in routes if other != route]

        async def play(played: RoundInPlay, route: str = route, others: Any = others) -> None:
            for _ in range(c.limit):
                played.ask(route, "chat", hold="head")
            await played.wait_held(c.limit)
            for number in range(2 * c.limit):
                played.ask(others[number % len(others)], "chat", hold="head")
            await played.snapshot_twice()

        await c.round("hold-across", play, route=route, mode="chat", gate=True)


async def burst(c: Conductor) -> None:
    routes = c.routes_with("chat")
    for number in range(8):
        together = number >= 4 and len(routes) > 1
        chosen = routes if together else [routes[number % len(routes)]]

        async def play(played: RoundInPlay, chosen: list[str] = chosen) -> None:
            go = Signal(c.clock)
            for index in range(8 * c.limit):
                played.ask(chosen[index % len(chosen)], "chat", hold="head", go=go)
            await c.nap(0.05)
            go.fire()
            await played.wait_held(c.limit, 0.5)
            await played.snapshot_twice(0.15)

        await c.round("burst", play, route="" if together else chosen[0], mode="chat", gate=True)


async def hold_long(c: Conductor) -> None:
    route, mode = c.first()

    async def play(played: RoundInPlay) -> None:
        for _ in range(OFFERED * c.limit):
            played.ask(route, mode, hold="head")
        await played.wait_held(c.limit)
        await c.nap(2.6)
        await played.snapshot_twice()

    await c.round("hold-long", play, route=route, mode=mode, gate=True)


async def attempts(c: Conductor) -> None:
    route, mode = c.first()
    c.fakes.everyone_is_told = {"status": 500, "attempts": 1}

    async def play(played: RoundInPlay) -> None:
        for _ in range(OFFERED * c.limit):
            played.ask(route, mode, hold="head", from_=2)
        await played.snapshot_twice()

    await c.round("attempts", play, route=route, mode=mode, gate=True)
    c.fakes.everyone_is_told = {}


async def spread(c: Conductor) -> None:
    if c.promises.workers < 2:
        return
    route, mode = c.first()

    async def play(played: RoundInPlay) -> None:
        for _ in range(10 * c.limit):
            played.ask(route, mode, hold="head")
            await c.nap(0.01)
        await played.snapshot_twice()

    await c.round("spread", play, route=route, mode=mode, gate=True)


async def load(c: Conductor) -> None:
    """Closed loop: users that ask, read, and now and then leave."""
    rng = c.rng

    async def play(played: RoundInPlay) -> None:
        left = 50 * c.limit

        async def user(done: Signal) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                client = _mixed(c, played)
                await client.over.wait()
                if client.outcome in {"refused", "failed"}:
                    await c.clock.sleep(0.02)
            done.fire()

        ends = [Signal(c.clock) for _ in range(6 * c.limit)]
        for end in ends:
            c.clock.spawn(user(end))
            await c.nap(rng.uniform(0.0, 0.002))
        for end in ends:
            await end.wait()

    await c.round("load", play)


def _mixed(c: Conductor, played: RoundInPlay) -> Client:
    rng = c.rng
    route = rng.choice(c.story.routes)
    mode = rng.choice(("chat", "stream"))
    told: dict[str, Any] = {
        "first": rng.uniform(0.004, 0.02),
        "gap": rng.uniform(0.0, 0.003),
        "tokens": rng.choice((2, 4, 8)),
    }
    leaves: tuple[float | None, int | None] = (None, None)
    fate = rng.random()
    if fate < 0.05:
        told["status"] = rng.choice((500, 503))
    elif fate < 0.1:
        told["cut"] = rng.choice((0, 1))
    elif fate < 0.3:
        after_a_piece = mode == "stream" and rng.randrange(2) == 1
        leaves = (None, 1) if after_a_piece else (rng.uniform(0.0, 0.03), None)
    return played.ask(route, mode, retry_rejected=False, leaves=leaves, **told)


# -- the slots -------------------------------------------------------------------------------------


async def handover(c: Conductor) -> None:
    route, mode = c.first()

    async def play(played: RoundInPlay) -> None:
        for number in range(c.limit + 4):
            played.ask(route, mode, hold="head")
            if number + 1 == c.limit:
                await played.wait_held(c.limit)
            await c.nap(0.02)
        await played.snapshot(settled=await played.settle())
        for _ in range(3):
            arrived = sum(c.fakes.arrived.values())
            played.let_go(1)
            await c.wait_until(partial(_arrived_since, c, arrived), 3.0)

    await c.round("handover", play, route=route, mode=mode, gate=True)


def _arrived_since(c: Conductor, arrived: int) -> bool:
    return sum(c.fakes.arrived.values()) > arrived


async def hung_provider(c: Conductor) -> None:
    routes = c.routes_with("chat")
    others = [r for r in routes if ROUTES[r].provider != ROUTES[routes[0]].provider]
    if not others:
        return

    async def play(played: RoundInPlay) -> None:
        for _ in range(c.limit):
            played.ask(routes[0], "chat", hold="head")
        await played.wait_held(c.limit)
        beside = played.ask(others[0], "chat")
        await beside.over.wait(1.5)
        await played.snapshot(settled=False)

    await c.round("hung-provider", play, route=others[0], mode="chat", gate=True)


async def one_each(c: Conductor) -> None:
    for route, mode in c.story.cells:
        if not await _answers(c, route, mode, "") and not await _answers(c, route, mode, "again"):
            return


async def _answers(c: Conductor, route: str, mode: str, part: str) -> bool:
    async def play(played: RoundInPlay) -> str:
        await _room(c)
        client = played.ask(route, mode, patience_s=5.0, tokens=2)
        await client.over.wait()
        return client.outcome

    return bool(await c.round("one-each", play, route=route, mode=mode, part=part) == "answered")


# -- endings ---------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[str, dict[str, Any]]] = {
    "error": ("chat", {"status": 500}),
    "reset": ("chat", {"cut": 0}),
    "malformed": ("chat", {"malformed": 1}),
    "cut": ("stream", {"cut": 1}),
}
LEAVERS = {
    "hang-up-before-head": ("stream", "head"),
    "hang-up-mid-stream": ("stream", "first"),
    "hang-up-non-streaming": ("chat", "head"),
}
KINDS = (*FAILURES, *LEAVERS, "hang-up-queued", "timeout")


async def after(c: Conductor, kind: str) -> None:
    scenario = f"after-{kind}"
    c.capacity = await held_round(c, scenario, *c.first(), part="before")
    mode, routes = _where(c, kind)
    for turn in range(2):
        capacity = c.capacity
        count = max(1, min(capacity, c.limit) - 1)
        if capacity < min(2, c.limit) or turn * count >= len(routes):
            return
        chosen = [routes[(turn * count + number) % len(routes)] for number in range(count)]
        if not await _cause(c, scenario, kind, mode, chosen) or not await _settle(c, scenario):
            return
        c.capacity = await held_round(c, scenario, *c.first(), part="probe")
        if c.capacity < capacity:
            await c.nap(LATER_S)
            c.capacity = await held_round(c, scenario, *c.first(), part="probe")
            return


def _where(c: Conductor, kind: str) -> tuple[str, list[str]]:
    mode = {**FAILURES, **LEAVERS}.get(kind, ("chat", {}))[0]
    routes = c.routes_with(mode)
    cap = c.promises.cap
    if cap is not None and cap.scope in {"provider", "model"}:
        provider = ROUTES[c.first()[0]].provider
        routes = [name for name in routes if ROUTES[name].provider == provider]
    return mode, routes


async def _cause(c: Conductor, scenario: str, kind: str, mode: str, chosen: list[str]) -> bool:
    async def fail(played: RoundInPlay) -> bool:
        for route in chosen:
            await played.ask(route, mode, **FAILURES[kind][1]).over.wait(20.0)
        return True

    async def time_out(played: RoundInPlay) -> bool:
        asked = [played.ask(route, mode, hold="head") for route in chosen]
        return await c.wait_until(lambda: all(client.outcome for client in asked), 20.0)

    async def leave(played: RoundInPlay) -> bool:
        asked = [played.ask(route, mode, hold=LEAVERS[kind][1]) for route in chosen]
        await played.wait_held(len(asked), 3.0)
        if kind == "hang-up-mid-stream":
            await c.wait_until(lambda: all(e.first_ns or e.outcome for e in asked), 3.0)
        for client in asked:
            client.leave()
        await c.wait_until(lambda: not c.fakes.calls, 1.0)
        return True

    async def leave_the_queue(played: RoundInPlay) -> bool:
        for _ in range(c.limit):
            played.ask(chosen[0], mode, hold="head")
        await played.wait_held(min(c.capacity, c.limit), 3.0)
        asked = [played.ask(route, mode) for route in chosen]
        await c.wait_until(lambda: all(e.sent_ns or e.outcome for e in asked), 3.0)
        await c.nap(0.1)
        await played.snapshot(settled=False)
        for client in asked:
            client.leave()
        await c.nap(0.3)
        return True

    play = fail if kind in FAILURES else leave if kind in LEAVERS else leave_the_queue
    if kind == "timeout":
        play = time_out
    came = await c.round(scenario, play, mode=mode, gate=True, part="cause")
    if kind == "hang-up-queued" and came:
        for _ in range(c.rng.randrange(3)):
            await _sweep(c, scenario)
    return bool(came)


async def _sweep(c: Conductor, scenario: str) -> None:
    """Clients leave the queue in its order while a call is released: a slot travels through it."""
    route, mode = c.first()

    async def play(played: RoundInPlay) -> None:
        for _ in range(c.limit):
            played.ask(route, mode, hold="head")
        if not await played.wait_held(c.limit, 2.0):
            return
        queued = [played.ask(route, mode, hold="head") for _ in range(4 * c.limit)]
        await c.nap(0.08)
        c.clock.after(c.rng.uniform(0.0, 0.002), lambda: played.let_go(1))
        for client in sorted(queued, key=lambda client: client.sent_ns or 0):
            client.leave()
            await c.nap(0.0003)
        for client in queued:
            await client.over.wait(2.0)

    await c.round(scenario, play, route=route, mode=mode, gate=True, part="sweep")


async def _settle(c: Conductor, scenario: str) -> bool:
    await c.wait_until(lambda: not c.fakes.calls, 5.0)
    await c.nap(c.promises.recovery_s)
    give_up = c.clock.now + int((2.0 + c.promises.recovery_s) * 1e9)
    route, mode = c.first()

    async def play(played: RoundInPlay) -> bool:
        while c.clock.now < give_up:
            client = played.ask(route, mode, patience_s=2.0)
            await client.over.wait(3.0)
            if client.outcome == "answered":
                return True
            await c.nap(0.1)
        return False

    return bool(await c.round(scenario, play, route=route, mode=mode, part="warm"))


# -- answers ---------------------------------------------------------------------------------------


async def hold_piece(c: Conductor) -> None:
    for route in c.routes_with("stream"):
        for number in range(3):

            async def play(played: RoundInPlay, route: str = route) -> bool:
                client = played.ask(route, "stream", hold="piece", at=8, tokens=12, pad=9000)
                if not await c.wait_until(lambda: played.held() > 0 or bool(client.outcome), 5.0):
                    return True
                return await c.wait_until(lambda: bool(client.first_ns or client.outcome), 2.0)

            part = f"try {number + 1}"
            if await c.round("hold-piece", play, route=route, mode="stream", gate=True, part=part):
                break


async def idle_timeout(c: Conductor) -> None:
    routes = c.routes_with("stream")[: _at_once(c)]
    for _ in range(3):

        async def play(played: RoundInPlay, routes: list[str] = routes) -> list[str]:
            asked = [(route, played.ask(route, "stream", tokens=10, gap=0.4)) for route in routes]
            await c.wait_until(lambda: all(client.outcome for _, client in asked), 14.0)
            return [route for route, client in asked if client.outcome != "answered"]

        routes = await c.round("idle-timeout", play, mode="stream")
        if not routes:
            return


async def leave_before_error(c: Conductor) -> None:
    routes = c.routes_with("chat")[: _at_once(c)]
    cancel = c.promises.cancel
    gone_s = max(1.0, cancel.within_s if cancel else 0.0)
    for _ in range(3):

        async def play(played: RoundInPlay) -> None:
            asked = [played.ask(route, "chat", hold="head", status=503) for route in routes]
            await played.wait_held(len(asked))
            for client in asked:
                client.leave()
            await c.nap(gone_s + 0.1)

        await c.round("leave-before-error", play, gate=True)


async def cut_stream(c: Conductor) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = [
        (route, "stream", {ending: 2, "tokens": 6} | once)
        for once in ({}, {"attempts": 1})
        for ending in ("cut", "fin", "clean", "error")
        for route in c.routes_with("stream")
    ]
    asked += [(route, "chat", {"cut": 0}) for route in c.routes_with("chat")]
    await _ask_all(c, "cut-stream", asked)


async def upstream_error(c: Conductor) -> None:
    asked = [(*cell, {"status": status}) for status in (500, 503, 429) for cell in c.story.cells]
    await _ask_all(c, "upstream-error", asked)


async def retry_after(c: Conductor) -> None:
    retries = c.promises.retries
    if retries is None or not retries.max or not retries.honours_retry_after:
        return
    asked: list[tuple[str, str, dict[str, Any]]] = [
        (route, "chat", {"status": status, "attempts": 1, "retry_after": 1})
        for status in (429, 503)
        for route in c.routes_with("chat")
    ]
    await _ask_all(c, "retry-after", asked, part="Retry-After 1")


async def _ask_all(
    c: Conductor, scenario: str, asked: list[tuple[str, str, dict[str, Any]]], part: str = ""
) -> None:
    width = _at_once(c)
    for begin in range(0, len(asked), width):
        wave = asked[begin : begin + width]

        async def play(played: RoundInPlay, wave: Any = wave) -> None:
            for route, mode, told in wave:
                played.ask(route, mode, **told)

        await c.round(scenario, play, part=part)


def _at_once(c: Conductor) -> int:
    cap = c.promises.cap
    return min(cap.limit, 8) if cap else 8


# -- hang-ups --------------------------------------------------------------------------------------


async def hang_up(c: Conductor) -> None:
    for number, (route, mode) in enumerate(c.story.cells):
        if number == 0:

            async def control(played: RoundInPlay, route: str = route, mode: str = mode) -> None:
                if await _ask_held(c, played, route, mode, "head"):
                    await c.nap(1.0)

            await c.round("hang-up", control, route=route, mode=mode, gate=True, part="control")
        stages = (("before-head", "head"), ("between-pieces", "first"))
        if mode != "stream":
            stages = (("non-streaming", "head"),)  # type: ignore[assignment]
        for part, hold in stages:
            for _ in range(3):
                if not await _leave_once(c, route, mode, part, hold):
                    break


async def _leave_once(c: Conductor, route: str, mode: str, part: str, hold: str) -> bool:
    limit = c.limit if c.promises.cap else 3
    cancel = c.promises.cancel

    async def play(played: RoundInPlay) -> bool:
        stayers = [await _ask_held(c, played, route, mode, hold)] if limit > 1 else []
        leaver = await _ask_held(c, played, route, mode, hold)
        leaver = leaver or (stayers.pop() if stayers else None)
        if leaver is None:
            return False
        if stayers and limit > 2:
            stayers.append(await _ask_held(c, played, route, mode, hold))
        if hold == "first":
            await c.wait_until(lambda: leaver.first_ns is not None, 0.3)
        leaver.leave()
        patience_s = cancel.within_s + 0.15 if cancel else 0.3
        gone = await c.wait_until(lambda: not played.holds(leaver), patience_s)
        await c.nap(0.05)
        spared = all(played.holds(stayer) for stayer in stayers if stayer is not None)
        await played.snapshot(settled=False)
        return not spared or (not gone and cancel is not None)

    return bool(await c.round("hang-up", play, route=route, mode=mode, gate=True, part=part))


async def _ask_held(
    c: Conductor, played: RoundInPlay, route: str, mode: str, hold: str
) -> Client | None:
    give_up = c.clock.now + int(2e9)
    while c.clock.now < give_up:
        client = played.ask(route, mode, hold=hold, retry_rejected=False)
        if await c.wait_until(partial(_is_held_or_over, played, client), 2.0):
            if not client.outcome:
                return client
            if client.outcome != "refused":
                return None
        await c.nap(0.05)
    return None


def _is_held_or_over(played: RoundInPlay, client: Client) -> bool:
    return bool(client.outcome) or played.holds(client)


async def hang_up_queued(c: Conductor) -> None:
    cap = c.promises.cap
    assert cap is not None
    narrow = cap.scope in {"provider", "model"}
    fill = _one_per_provider(c) if narrow else _one_per_provider(c)[:1]
    cancel = c.promises.cancel

    async def play(played: RoundInPlay) -> None:
        for route, mode in fill:
            for _ in range(c.limit):
                played.ask(route, mode, hold="head", retry_rejected=False)
        if not await played.wait_held(c.limit * len(fill)):
            return
        cells = fill if narrow else c.story.cells
        most = 30 if cap.queue_limit is None else cap.queue_limit
        leavers = [
            played.ask(route, mode, hold="head", retry_rejected=False)
            for route, mode in (cells * 2)[: min(most, 6)]
        ]
        await played.snapshot(settled=await played.settle(0.3))
        for leaver in leavers:
            leaver.leave()
        await c.nap(max(1.0, cancel.within_s if cancel else 0.0) + 0.15)
        for route, mode in fill:
            played.ask(route, mode, hold="head", retry_rejected=False)
        await played.snapshot(settled=await played.settle(0.3))

    await c.round("hang-up-queued", play, gate=True)
    await c.nap(0.3)


def _one_per_provider(c: Conductor) -> list[tuple[str, str]]:
    chosen: dict[str, tuple[str, str]] = {}
    for name in c.story.routes:
        chosen.setdefault(ROUTES[name].provider, (name, "chat"))
    return list(chosen.values())


async def keys(c: Conductor) -> None:
    async def answers(played: RoundInPlay) -> None:
        faults: tuple[dict[str, Any], ...] = ({}, {"status": 401}, {"status": 500}, {"cut": 0})
        for route in c.story.routes:
            for told in faults:
                played.ask(route, "chat", retry_rejected=False, patience_s=10.0, **told)

    await c.round("keys", answers, part="answers")
    for status in (401, None):
        for its in c.fakes.lists.values():
            its.status = status

        async def ask(played: RoundInPlay) -> None:
            played.ask_list(patience_s=10.0)

        await c.round("keys", ask, part="list" if status is None else "list refused")


# -- overload --------------------------------------------------------------------------------------


async def overload(c: Conductor) -> None:
    cap = c.promises.cap
    assert cap is not None
    fill = _one_per_provider(c)
    narrow = cap.scope in {"provider", "model"}
    for route, mode in fill if narrow else fill[:1]:

        async def play(played: RoundInPlay, route: str = route, mode: str = mode) -> list[Client]:
            for _ in range(c.limit):
                played.ask(route, mode, hold="head")
            if await played.wait_held(c.limit):
                await _crowd(c, played, route, mode)
            return played.clients

        clients = await c.round("overload", play, route=route, mode=mode, gate=True)
        if cap.overload == "queue" and any(client.outcome == "refused" for client in clients):
            await _with_free_slots(c, route, mode, len(clients))


async def _with_free_slots(c: Conductor, route: str, mode: str, count: int) -> None:
    async def play(played: RoundInPlay) -> None:
        for _ in range(count):
            client = played.ask(route, mode, retry_rejected=False)
            await client.over.wait()
            if client.outcome == "refused":
                return

    await c.nap(0.1)
    await c.round("overload", play, route=route, mode=mode, part=SLOTS_FREE)


async def _crowd(c: Conductor, played: RoundInPlay, route: str, mode: str) -> None:
    cap = c.promises.cap
    assert cap is not None
    bound = cap.queue_limit if cap.queue_limit is not None and cap.queue_limit <= 256 else None
    timeout_s = cap.queue_timeout_s
    capacity = 0 if cap.overload == "reject" else bound
    await played.snapshot(settled=False)
    cells = [(route, mode)]
    if cap.overload == "reject" and cap.scope not in {"provider", "model"}:
        cells += c.story.cells
    asked = [
        played.ask(*cells[number % len(cells)], hold="head", retry_rejected=False)
        for number in range(3 + (capacity or 0))
    ]

    def waiting() -> int:
        return sum(not client.outcome for client in asked)

    await c.wait_until(lambda: all(e.sent_ns or e.outcome for e in asked), 5.0)
    written = c.clock.now
    kept_s = 2.0 if timeout_s is None else min(2.0, timeout_s / 2)
    if capacity is None:
        await c.wait_until(lambda: not waiting(), 0.5)
        await played.snapshot(settled=False)
    else:
        await c.wait_until(lambda: waiting() <= capacity, kept_s)
        await played.snapshot(settled=False)
        await c.nap(APART_S)
        await played.snapshot(settled=False)
    if timeout_s is not None:
        late_s = timeout_s + max(0.5, 0.5 * timeout_s) + 0.2
        await c.wait_until(lambda: not waiting(), late_s - (c.clock.now - written) / 1e9)
        await played.snapshot(settled=False)


# -- what it costs ---------------------------------------------------------------------------------


async def overhead(c: Conductor) -> None:
    """Requests through the router, and straight to the fake in between; too few to measure well."""
    for mode in ("chat", "stream"):
        route = c.routes_with(mode)[0]
        for way in ("router", "direct"):

            async def play(
                played: RoundInPlay, route: str = route, mode: str = mode, way: str = way
            ) -> None:
                for _ in range(12):
                    client = played.ask(route, mode, direct=way == "direct", clocked=True)
                    await client.over.wait()

            await c.round("overhead", play, route=route, mode=mode, part=f"in turn {way}")


async def hidden_cap(c: Conductor) -> None:
    route = c.routes_with("stream")[0]

    async def play(played: RoundInPlay) -> None:
        for _ in range(64):
            played.ask(route, "stream", hold="first")
        await c.nap(1.0)
        await played.snapshot(settled=True)

    await c.round("hidden-cap", play, route=route, mode="stream", gate=True)
