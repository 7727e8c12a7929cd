"""A cap that is not reached: five times as many requests, and free slots all the same."""

from __future__ import annotations

from routerspec.repro.kit import Lab, room, say


def show(lab: Lab) -> bool:
    """True when fewer calls than the cap were let in, twice."""
    seen = [room(lab) for _ in range(2)]
    cap = lab.told["cap"]
    say(f"cap {cap}, {5 * cap} requests waiting: {seen[0]} and then {seen[1]} calls were let in")
    return max(seen) < int(cap)
