"""Retries: how often a provider that fails is asked for one answer."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from routerspec.repro.kit import Answer, Lab, quiet, say


def show(lab: Lab) -> bool:
    """True when one request was asked for more often than promised, with one and the same body."""
    seen = [
        _fails(lab, route, mode, how)
        for route, mode in lab.told["cells"]
        for how in ("error", "reset")
    ]
    return any(seen)


def _fails(lab: Lab, route: dict[str, Any], mode: str, how: str) -> bool:
    def failing(answer: Answer) -> None:
        answer.error(500) if how == "error" else answer.reset()

    lab.answer_with(failing)
    client = lab.client(route, mode).ask()
    client.over.wait(30)
    quiet(lambda: len(lab.calls), for_s=1.0)
    mine = [call for call in lab.calls if call.number == client.number]
    asked = Counter((c.provider, c.path, json.dumps(c.said, sort_keys=True)) for c in mine)
    most, promised = max(asked.values(), default=0), 1 + lab.told["retries"]
    say(
        f"{route['name']} {mode}: the provider failed by {how}, and was asked {most} times for "
        f"the same (promised: {promised} at most)"
    )
    return bool(most > promised)
