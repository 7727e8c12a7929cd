"""How many processors this process may use: by its affinity and by the quota of its cgroup.

A container on a machine with 64 processors mostly has two of them.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def processors(*, membership: Path = _MEMBERSHIP, cgroups: Path = _CGROUPS) -> int:
    """At least 1. Part of a processor counts as a whole one."""
    allowed = _by_affinity()
    quotas = [math.ceil(quota) for quota in _quotas(membership, cgroups)]
    return max(1, min([allowed, *quotas]))


def _by_affinity() -> int:
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Every quota above this process, in processors. None where it cannot be read: no Linux."""
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers in {"", "cpu", "cpu,cpuacct"}:
                root = cgroups / controllers
                below = root.joinpath(name.strip("/"))
                for folder in (below, *below.parents):
                    if folder.is_relative_to(root):
                        yield from _quota_of(folder)


def _quota_of(folder: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):  # of version 2
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):  # of version 1
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            yield quota_us / int((folder / "cpu.cfs_period_us").read_text())
