"""Retries: how often is a provider that fails asked for one answer, when, and for whom?"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from routerspec.repro.kit import Answer, Client, Lab, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when one answer was asked for too often, too early, or for a client that had left."""
    for route, mode in lab.told["cells"]:
        for how in ("reset", "error", "cut"):
            if (how != "cut" or mode == "stream") and _too_often(lab, route, mode, how):
                return True
        if mode == "chat" and (_for_nobody(lab, route, mode) or _too_early(lab, route, mode)):
            return True
    return False


def _too_often(lab: Lab, route: dict[str, Any], mode: str, how: str) -> bool:
    def failing(answer: Answer) -> None:
        if how == "error":
            answer.error(500)
        elif how == "cut" and answer.call.embeds:
            answer.whole()
        else:
            answer.pieces(2) if how == "cut" and answer.call.stream else None
            answer.reset()

    lab.answer_with(failing)
    client = lab.client(route, mode).ask()
    promised = 1 + lab.told["retries"]
    # No need to wait for the answer of a router that has long asked too often.
    give_up = time.monotonic() + 30
    while not client.over.wait(0.05) and time.monotonic() < give_up:
        if _asked(lab, client) > promised:
            break
    quiet(lambda: len(lab.calls), for_s=1.0, at_most_s=3.0)
    most = _asked(lab, client)
    client.leave()
    say(
        f"{route['name']} {mode}: the provider failed by {how}, and was asked {most} times for "
        f"the same (promised: {promised} at most)"
    )
    return most > int(promised)


def _asked(lab: Lab, client: Client) -> int:
    """How often one and the same was asked for, each time after the last had failed."""
    asked: Counter[tuple[str, str, str]] = Counter()
    ended: dict[tuple[str, str, str], float] = {}
    for call in sorted(lab.calls_of(client), key=lambda call: call.began):
        same = call.provider, call.path, json.dumps(call.said, sort_keys=True)
        if call.began >= ended.get(same, 0.0):
            asked[same] += 1
            ended[same] = call.ended or time.monotonic()
    return max(asked.values(), default=0)


def _for_nobody(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    """Three clients leave; a good while later their calls fail: is any of them tried again?"""
    again = 0
    for _ in range(3):
        left = float("inf")

        def late(answer: Answer) -> None:
            until = time.monotonic() + 10
            while time.monotonic() < min(left + gone_s, until) and not answer.left():  # noqa: B023
                time.sleep(0.02)
            answer.error(503)

        gone_s = max(1.0, lab.told["within_s"]) + 0.2
        lab.answer_with(late)
        client = lab.client(route, mode).ask()
        reached(lambda client=client: len(lab.calls_of(client)), 1, within_s=5)  # type: ignore[misc]
        client.leave()
        left = time.monotonic()
        time.sleep(gone_s + 0.2)
        quiet(lambda: len(lab.calls), for_s=0.7)
        again += any(call.began > left + gone_s - 0.2 for call in lab.calls_of(client))
        if not again:
            break
    say(f"{route['name']} {mode}: {again} times of 3 it was tried again for a client that had left")
    return again == 3


def _too_early(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    """The first attempt is told to come back in two seconds."""
    if not (lab.told["retries"] and lab.told["honours_retry_after"]):
        return False

    def busy(answer: Answer) -> None:
        if answer.call.attempt == 1:
            answer.error(503, Retry_After="2")
        else:
            answer.whole()

    lab.answer_with(busy)
    client = lab.client(route, mode).ask()
    client.over.wait(30)
    calls = sorted(lab.calls_of(client), key=lambda call: call.began)
    again = [call for call in calls if call.attempt > 1]
    apart = again[0].began - calls[0].began if again else 2.0
    say(f"{route['name']} {mode}: told to come back in 2 s, asked again after {apart:.2f} s")
    return apart < 1.95
