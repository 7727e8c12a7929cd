"""The processor time that a process and all that it started have used."""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]


def processor_s(pid: int) -> float | None:
    """User and system time together, also of one that has ended and was not reaped; None: unknown.

    Without those of its children that have ended and were not reaped.
    """
    try:
        root = psutil.Process(pid)
        used = root.cpu_times()
        below = root.children(recursive=True)
    except psutil.Error:
        return None
    seconds = used.user + used.system
    seconds += getattr(used, "children_user", 0.0) + getattr(used, "children_system", 0.0)
    for process in below:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        seconds += used.user + used.system
    return float(seconds)
