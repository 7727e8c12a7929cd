"""A whole answer that does not simply go out at once: held, halved, cut, broken or mis-measured.

Decides what becomes of its head and its body. Refuses to know what it says. An ending counts
pieces, of which a whole answer has one: after none of it means before the head, after one or more
in the middle of the body. An end without a finish and an error event are for streams only.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fake_providers.calls import endings
from fake_providers.calls.gates import Gates
from fake_providers.calls.recorder import OpenCall, Recorder
from fake_providers.http.answers import Whole
from fake_providers.http.heads import Headers
from fake_providers.prompt.behaviour import Behaviour


async def play_whole(
    call: OpenCall,
    behaviour: Behaviour,
    answer: Whole,
    *,
    recorder: Recorder,
    gates: Gates,
    stamp: endings.Stamp,
) -> None:
    """Answer ``call`` with ``answer`` as ``behaviour`` has it, and record it."""
    exchange = call.exchange
    name, after = behaviour.ending or ("", 0)
    if name == "cut" or (name in endings.SILENT and not after):
        await endings.SILENT[name](call, recorder, stamp)
        return
    if behaviour.malformed is not None:
        half = answer.body[: len(answer.body) // 2]
        answer = replace(
            answer, body=half, headers=_measured(answer.headers, len(half)), finished=False
        )
    if behaviour.length:
        told = max(0, len(answer.body) + behaviour.length)
        answer = replace(answer, headers=_measured(answer.headers, told), finished=False)
    call.told_ns = stamp()
    await exchange.head(answer.status, answer.headers)
    call.head_ns = stamp()
    if behaviour.hold == "open":
        await gates.hold(call, "open")
    if behaviour.length:
        exchange.raw(answer.body)
        await endings.fin(call, recorder, stamp)
        return
    if name in endings.SILENT:
        await send(call, answer.body[: len(answer.body) // 2], behaviour.split)
        await endings.SILENT[name](call, recorder, stamp)
        return
    await send(call, answer.body[:-1], behaviour.split)
    if behaviour.hold == "end":
        await gates.hold(call, "end")
    if exchange.gone:
        return
    await exchange.body(answer.body[-1:], last=True)
    if exchange.gone:
        return
    outer_end_ns = stamp()
    if answer.finished:
        call.first_ns = outer_end_ns
        call.pieces = 1
    call.finished = answer.finished
    recorder.end(call, "fake", inner_end_ns=call.told_ns, outer_end_ns=outer_end_ns)


async def send(call: OpenCall, data: bytes, split: int) -> None:
    """Send a part of a body, in parts of ``split`` bytes; 0: as it is."""
    if not split:
        await call.exchange.body(data, last=False)
        return
    for start in range(0, len(data), split):
        await call.exchange.body(data[start : start + split], last=False)
        if call.exchange.gone:
            return
        await asyncio.sleep(0)


def _measured(headers: Headers, length: int) -> Headers:
    return [
        (name, b"%d" % length if name == b"content-length" else value) for name, value in headers
    ]
