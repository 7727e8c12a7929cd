"""The cap when clients hang up: calls whose clients have left still count while they are open."""

from __future__ import annotations

from typing import Any

from routerspec.repro.kit import Client, Lab, insist, let_go, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when old calls and new ones together were more than the cap for a second."""
    return any(_left(lab, route, mode) for route, mode in lab.told["cells"])


def _left(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    cap, gate = lab.told["cap"], lab.hold()
    old = [lab.client(route, mode).ask() for _ in range(cap)]
    reached(lab.busy, cap, within_s=5)
    for client in old:
        client.leave()
    new = [lab.client(route, mode).ask() for _ in range(5 * cap)]
    insist(lab, new)
    first = {id(call) for call in lab.open_calls()}
    insist(lab, new, for_s=1.1, at_most_s=1.1)
    both = [call for call in lab.open_calls() if id(call) in first]
    counted = [call for call in both if _counts(call.number, old, new)]
    most, stayed = lab.busy(counted), sum(call.number <= old[-1].number for call in counted)
    let_go(gate, new)
    quiet(lambda: len(lab.open_calls()), for_s=0.3)
    say(
        f"{route['name']} {mode}, cap {cap}: {most} calls were open at the providers for a second "
        f"or more, {stayed} of them of clients that had hung up: "
        f"{'MORE THAN THE CAP' if most > cap else 'within the cap'}"
    )
    return bool(most > cap)


def _counts(number: int, old: list[Client], new: list[Client]) -> bool:
    """A call of somebody who left, or of somebody who still waits."""
    return any(client.number == number for client in old) or any(
        client.number == number and client.waiting for client in new
    )
