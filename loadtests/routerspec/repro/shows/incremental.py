"""A stream whose provider has said eight pieces and pauses: has its client got any of it?"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Client, Lab, reached, say


def show(lab: Lab) -> bool:
    """True when a client had nothing while its provider paused, three times of three."""
    return any(_late(lab, route, mode) == 3 for route, mode in lab.told["cells"])


def _late(lab: Lab, route: dict[str, Any], mode: str) -> int:
    late = 0
    for _ in range(3):
        gate = threading.Event()

        def pausing(answer: Answer, gate: threading.Event = gate) -> None:
            if answer.call.stream and not answer.call.embeds:
                answer.pieces(8, pad="." * 1024)
                if answer.wait(gate):
                    answer.rest()
            else:
                answer.whole()

        lab.answer_with(pausing)
        client = lab.client(route, mode).ask()
        reached(lambda client=client: max(_sent(lab, client)), 8)  # type: ignore[misc]
        began = time.monotonic()
        while time.monotonic() - began < 2 and not client.text and not client.over.is_set():
            time.sleep(0.02)
        open_now = [c for c in lab.calls_of(client) if c.open and c.sent >= 8]
        kept_back = bool(open_now) and not client.text and not client.over.is_set()
        gate.set()
        client.over.wait(30)
        late += kept_back and bool(client.text)
        if not kept_back:
            break
    say(
        f"{route['name']} {mode}: {late} times of 3 the client had nothing two seconds after its "
        "provider had sent eight pieces, 8 KiB in all, and got it once the provider went on"
    )
    return late


def _sent(lab: Lab, client: Client) -> list[int]:
    """How many pieces of its streams the provider has sent."""
    return [0, *(call.sent for call in lab.calls_of(client))]
