"""Rounds in which providers are silent."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

from routerspec.repro.kit.clients import label, says_finished
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    admitted,
    any_cell,
    release,
    say,
    succeeds,
    times_in_row,
)
from routerspec.repro.kit.providers import PIECES, Answer


def nothing_to_read(lab: Lab) -> bool:
    """Let providers pause in a stream for some times as long as a client must read something.

    True when a client reads nothing for longer than that, three times of three.
    """
    promise = lab.settings["silence"]
    every_s = promise["keepalive_s"]
    bound_s: float = every_s + max(0.5, 0.25 * every_s)
    pause_s = min(3 * every_s + 0.5, 0.8 * (promise["idle_timeout_s"] or 1e9))

    def pauses(answer: Answer) -> None:
        if answer.call.stream:
            answer.pieces(1)
            time.sleep(pause_s)
        answer.whole()

    def trial(cell: dict[str, Any]) -> bool:
        def silent() -> bool:
            lab.answer_with(pauses)
            client = lab.request(cell)
            client.done(pause_s + 15)
            if len(client.read_at) < 2:
                raise NotExercisedError("No stream came.")
            longest_s = max(later - earlier for earlier, later in pairwise(client.read_at))
            say(f"{label(cell)}: provider silent for {pause_s:g} s, client for {longest_s:.1f} s")
            return longest_s > bound_s

        return times_in_row(silent) == 3

    return any_cell(lab, trial)


def cut_while_long(lab: Lab) -> bool:
    """Let providers stream for nine tenths of the longest time that is promised.

    True when the stream is cut before its end, three times of three.
    """
    promise = lab.settings["silence"]
    lasts_s = 0.9 * promise["stream_max_s"]
    every_s = min(0.4, (promise["idle_timeout_s"] or 1e9) / 4)
    count = max(PIECES, round(lasts_s / every_s))

    def slowly(answer: Answer) -> None:
        if answer.call.stream:
            for number in range(count):
                answer.pieces(number + 1)
                time.sleep(lasts_s / count)
        answer.whole()

    def trial(cell: dict[str, Any]) -> bool:
        def cut() -> bool:
            lab.answer_with(slowly)
            client, began = lab.request(cell), time.monotonic()
            client.done(lasts_s + 15)
            if not lab.calls_of(client):
                raise NotExercisedError("No stream reached a provider.")
            took_s = time.monotonic() - began
            whole = client.succeeded and says_finished(client.text)
            say(f"{label(cell)}: {'whole' if whole else 'cut off'} after {took_s:.1f} s")
            return not whole and took_s <= promise["stream_max_s"]

        return times_in_row(cut) == 3

    return any_cell(lab, trial)


def never_given_up(lab: Lab) -> bool:
    """Let providers say nothing more, and look how long the router waits for them.

    True when a call stays open after the promised time, three times of three, or slots are lost.
    """
    idle_s = lab.settings["silence"]["idle_timeout_s"]
    bound_s: float = idle_s + max(0.5, 0.25 * idle_s)
    before = admitted(lab)

    def trial(cell: dict[str, Any]) -> bool:
        def open_after() -> bool:
            gate: threading.Event = lab.hold(first=1)
            client = lab.request(cell)
            if not lab.arrived(client, within_s=5):
                release(gate, [client])
                raise NotExercisedError("No request reached a provider.")
            first = lab.calls_of(client)[0]
            time.sleep(bound_s)
            still = first.open
            say(f"{label(cell)}: {bound_s:g} s after the last byte the call is "
                f"{'open' if still else 'closed'}")  # fmt: skip
            client.done(4 * bound_s)
            release(gate, [client], within_s=1)
            return still

        return times_in_row(open_after) == 3

    late = any_cell(lab, trial)
    if late or not succeeds(lab):
        return late
    after = admitted(lab)
    say(f"{before} calls let in at once before, {after} after")
    return 0 < after < before == lab.cap
