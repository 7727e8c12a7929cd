"""How many processors there are to use, by affinity and by both kinds of cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from routerspec.plan.processors import processors

HERE = processors()


def test_it_is_no_more_than_the_machine_has() -> None:
    assert 1 <= HERE <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("membership", "files", "count"),
    [
        ("0::/", {}, HERE),
        ("0::/", {"cpu.max": "max 100000"}, HERE),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/a", {"a/cpu.max": "nonsense"}, HERE),
        ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1"}, HERE),
        (
            "4:cpu:/a",
            {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("4:memory:/a", {"memory/a/cpu.cfs_quota_us": "1"}, HERE),
    ],
)
def test_a_quota_counts_wherever_it_stands(
    tmp_path: Path, membership: str, files: dict[str, str], count: int
) -> None:
    (tmp_path / "cgroup").write_text(f"{membership}\n")
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert processors(membership=tmp_path / "cgroup", cgroups=tmp_path / "fs") == count


def test_a_machine_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert processors(membership=tmp_path / "none", cgroups=tmp_path) == HERE
