"""The player: carries out what a call was told, and takes the stamps of its record.

Decides the order of things: hold, wait, head, first piece, hold, pieces, finish or another
ending; and that an inner end is stamped just before the first byte from which the end can be
told. Refuses to know dialects: it gets its bytes from an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from fake_providers.calls import endings
from fake_providers.calls.admission import Desk
from fake_providers.calls.endings import SILENT, end_stream
from fake_providers.calls.gates import Gates
from fake_providers.calls.recorder import OpenCall, Recorder
from fake_providers.calls.whole_answers import play_whole, send
from fake_providers.http.answers import Stream, Whole
from fake_providers.pacing.pace import Pace
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.records.clock import Clock

BREATH: Final = 64
"""An unpaced stream lets others run after so many pieces."""


class Player:
    """Plays calls; keeps nothing of its own."""

    def __init__(
        self, *, recorder: Recorder, gates: Gates, clock: Clock, desks: Mapping[str, Desk]
    ) -> None:
        self._recorder = recorder
        self._gates = gates
        self._desks = desks
        self._stamp = clock.stamp

    async def play(
        self, call: OpenCall, behaviour: Behaviour, compose: Callable[[], Stream | Whole]
    ) -> None:
        """Answer ``call``, whose whole request was just read, and record it."""
        self._recorder.begin(call)
        call.exchange.on_close = lambda: self._peer_left(call)
        if call.pace is None:
            await self._answer(call, behaviour, compose)
            return
        async with self._desks[call.provider].admitted(call):
            if not call.exchange.gone:
                await self._answer(call, behaviour, compose)

    async def _answer(
        self, call: OpenCall, behaviour: Behaviour, compose: Callable[[], Stream | Whole]
    ) -> None:
        held_at = behaviour.holds_at(stream=call.stream)
        if held_at == "head":
            await self._gates.hold(call, "head")
        if call.pace is not None:
            await self._await_first(call, call.pace, held=held_at == "head")
        elif behaviour.first_s:
            await self._pace(call, call.read_ns + round(behaviour.first_s * 1e9))
        if call.exchange.gone:
            return
        if behaviour.stall == 0:
            await endings.stall(call, self._recorder, self._stamp)
            return
        answer = compose()
        if isinstance(answer, Stream):
            await self._stream(call, behaviour, answer)
        elif behaviour.odd and not answer.refused:
            await play_whole(
                call,
                behaviour,
                answer,
                recorder=self._recorder,
                gates=self._gates,
                stamp=self._stamp,
            )
        else:
            await self._whole(call, answer)

    async def _await_first(self, call: OpenCall, pace: Pace, *, held: bool) -> None:
        await self._pace(call, pace.first_due_ns())
        if held:
            pace.resume(self._stamp())
        while not call.stream and (due_ns := pace.stride_due_ns()) is not None:
            await self._pace(call, due_ns)
            if call.exchange.gone:
                return

    async def _whole(self, call: OpenCall, answer: Whole) -> None:
        exchange = call.exchange
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        if exchange.gone:
            return
        inner_end_ns = self._stamp()
        exchange.whole(answer.status, message, len(answer.body))
        call.head_ns = outer_end_ns = self._stamp()
        if answer.finished:
            call.first_ns = outer_end_ns
            call.pieces = 1
        call.finished = answer.finished
        self._recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=outer_end_ns)

    async def _stream(self, call: OpenCall, behaviour: Behaviour, answer: Stream) -> None:
        exchange = call.exchange
        ending, after = behaviour.ending or (None, None)
        hold_after, malformed_at = behaviour.hold_piece, behaviour.malformed
        if after != 0:
            await self._pieces(call, behaviour, answer, after, hold_after)
        elif ending in {"clean", "error"}:
            await self._begin(call, behaviour, answer)
        if exchange.gone:
            return
        if malformed_at is not None and malformed_at >= call.pieces and ending not in SILENT:
            await self._malformed(call, answer)
        if behaviour.hold == "end":
            await self._hold(call, "end")
        if exchange.gone:
            return
        if ending is not None:
            await end_stream(ending, answer, call, self._recorder, self._stamp)
        else:
            await self._finish(call, behaviour, answer)

    async def _pieces(
        self,
        call: OpenCall,
        behaviour: Behaviour,
        answer: Stream,
        most: int | None,
        hold_after: int | None,
    ) -> None:
        exchange = call.exchange
        gap_ns = round(behaviour.gap_s * 1e9)
        before = answer.comment * behaviour.comments
        base_ns = self._stamp()
        for number, data in enumerate(answer.pieces):
            if number and (call.pace or gap_ns):
                due_ns = call.pace.next_due_ns() if call.pace else base_ns + number * gap_ns
                await self._pace(call, due_ns)
            elif number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            if number == 0:
                await self._begin(call, behaviour, answer)
            if number == behaviour.malformed:
                await self._malformed(call, answer)
            await send(call, before + data, behaviour.split)
            if exchange.gone:
                return
            call.pieces += 1
            if number == 0:
                call.first_ns = self._stamp()
            if call.pieces == hold_after:
                await self._hold(call, "first" if behaviour.hold == "first" else "piece")
                base_ns = self._stamp() - number * gap_ns
                if exchange.gone:
                    return
            if call.pieces == most:
                return

    async def _begin(self, call: OpenCall, behaviour: Behaviour, answer: Stream) -> None:
        await call.exchange.head(200, answer.headers)
        call.head_ns = self._stamp()
        if behaviour.hold == "open":
            await self._hold(call, "open")
        if answer.opening:
            await send(call, answer.opening, behaviour.split)

    async def _malformed(self, call: OpenCall, answer: Stream) -> None:
        call.told_ns = self._stamp()
        await call.exchange.body(answer.malformed, last=False)

    async def _finish(self, call: OpenCall, behaviour: Behaviour, answer: Stream) -> None:
        data = answer.finish()
        if behaviour.comments:
            data = answer.comment * behaviour.comments + data
        if not behaviour.newline:
            data = data.rstrip(b"\n")
        inner_end_ns = self._stamp()
        if behaviour.split:
            await send(call, data[:-1], behaviour.split)
            data = data[-1:]
        await call.exchange.body(data, last=True)
        if call.exchange.gone:
            return
        call.finished = True
        self._recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=self._stamp())

    async def _hold(self, call: OpenCall, at: str) -> None:
        await self._gates.hold(call, at)
        if call.pace is not None:
            call.pace.resume(self._stamp())

    async def _pace(self, call: OpenCall, due_ns: int) -> None:
        late_ns = await call.exchange.wait_until(due_ns)
        if not call.exchange.gone:
            self._recorder.metrics.late(late_ns)
        call.late_ns = max(call.late_ns, late_ns)

    def _peer_left(self, call: OpenCall) -> None:
        seen_ns = call.exchange.peer_closed_ns
        assert seen_ns is not None
        self._gates.leave(call)
        self._recorder.end(call, "peer", inner_end_ns=seen_ns, outer_end_ns=seen_ns)
