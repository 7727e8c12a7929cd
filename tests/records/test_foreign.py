"""A run folder is foreign input: whatever it holds is read, or refused with the next step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from routerspec import repro
from routerspec.compare import baseline
from routerspec.errors import UsageError
from routerspec.judge.judge import judge
from routerspec.publish import publish
from routerspec.records import foreign
from routerspec.records.run import read_run
from tests.corpus.builder import Start, write_run
from tests.support import mutations

CHECK = "cap/each-route"
NEXT = "as routerspec wrote it"


def run_in(folder: Path, *names: str) -> Path:
    """A run that broke its cap."""
    starts: list[Start] = []
    for name in names or ("one",):
        start = Start(name, token=f"k{len(starts)}")
        start.held_round("hold-head", 0, held=4, settled=False)
        starts.append(start)
    write_run(folder / "run", *starts, selected=(CHECK,))
    return folder / "run"


def rewrite(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize("name", ["../../PWNED", "/tmp/PWNED", "..", ".", "", "a/b", "a\0", "a\nb"])
def test_a_start_is_named_after_a_folder_of_the_run(name: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    rewrite(folder / "run.json", starts=[name])
    with pytest.raises(UsageError, match="is no name of a start"):
        read_run(folder)


@pytest.mark.parametrize("number", [-1, 1e308, 1 << 63])
def test_promises_that_nobody_means_are_refused(number: float, tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    rewrite(folder / "run.json", promises={"recovery_s": number})
    with pytest.raises(UsageError, match=f"run.json: recovery_s is .*{NEXT}"):
        read_run(folder)


@pytest.mark.parametrize("counts", [{"../../PWNED": 2}, {"openai-2": 2}, {"openai": 10**9}])
def test_instances_are_those_that_a_target_can_have(counts: dict[str, int], tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    rewrite(folder / "run.json", instances=counts)
    with pytest.raises(UsageError, match=f"run.json: .* instances. Use.*{NEXT}"):
        read_run(folder)


def test_a_start_cannot_be_published_under_another_name(tmp_path: Path) -> None:
    """It would be written there: outside of ``reports/``."""
    made = [run_in(tmp_path / str(number)) for number in range(3)]
    for folder in made:
        rewrite(folder / "starts" / "one" / "start.json", name="../../../../PWNED")
    with pytest.raises(UsageError, match=r"that of the start '\.\./\.\./\.\./\.\./PWNED'"):
        publish.publish(made, tmp_path / "below" / "it" / "reports")
    assert not list(tmp_path.rglob("*PWNED*"))


@pytest.mark.parametrize("how", mutations.SHAPES)
@pytest.mark.parametrize("file", ["run.json", "starts/one/start.json"])
def test_what_is_no_file_of_json_is_refused(file: str, how: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    mutations.reshape(folder / file, how)
    with pytest.raises(UsageError, match=f"{NEXT}|has no run.json"):
        read_run(folder)


@pytest.mark.parametrize("how", ["folder", "fifo", "link-out", "unreadable-name"])
@pytest.mark.parametrize("file", ["evidence", "observations"])
def test_records_that_are_no_file_are_refused(file: str, how: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    mutations.reshape(folder / "starts" / "one" / f"{file}.jsonl", how)
    with pytest.raises(UsageError, match=NEXT):
        read_run(folder)


@pytest.mark.parametrize("how", ["nested", "not-utf8", "number", "time"])
@pytest.mark.parametrize("file", ["evidence", "observations"])
def test_broken_records_leave_what_another_start_proves(
    file: str, how: str, tmp_path: Path
) -> None:
    folder = run_in(tmp_path, "one", "two")
    path = folder / "starts" / "one" / f"{file}.jsonl"
    if how in {"number", "time"}:
        lines = path.read_text().splitlines()
        name = "end_ns" if file == "observations" else "read_ns"
        at = next(n for n, line in enumerate(lines) if f'"{name}":' in line)
        lines[at] = json.dumps(json.loads(lines[at]) | {name: 1 << (61 if how == "time" else 70)})
        path.write_text("\n".join(lines) + "\n")
    else:
        mutations.reshape(path, how)
    assert judge(read_run(folder)).checks[0].outcome == "violated"
    rewrite(folder / "run.json", starts=["one"])
    assert judge(read_run(folder)).checks[0].outcome != "violated"


@pytest.mark.parametrize("how", ["folder", "fifo", "link-out", "nested", "not-utf8"])
@pytest.mark.parametrize("file", ["plan.json", "router.json"])
def test_a_script_is_not_made_of_a_broken_plan(file: str, how: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    path = folder / "starts" / "one" / file
    path.write_text("{}")
    if file == "router.json":
        (folder / "starts" / "one" / "plan.json").write_text(PLAN)
    mutations.reshape(path, how)
    with pytest.raises(UsageError, match=f"{file}.*{NEXT}"):
        repro.write(folder, CHECK)


PLAN = json.dumps({
    "token": "k0", "folder": "", "control": "", "routes": [], "headers": {}, "list_path": "/",
    "promises": {}, "scenarios": [], "seed": 1,
})  # fmt: skip


def test_a_script_is_not_written_out_of_the_run(tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "repro").symlink_to(outside)
    rewrite(folder / "run.json", target="reference")
    with pytest.raises(UsageError, match="leads out of the run's folder"):
        repro.write(folder, CHECK)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("text", [b"[" * 100_000, b'"\xff"', b"", b"{}"])
def test_a_broken_verdict_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(text)
    with pytest.raises(UsageError, match="Make it with `routerspec verify"):
        baseline.read(tmp_path / "old.json")


def test_a_verdict_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from ``compare <(...) <(...)``: its reader says what is missing, and waits for nobody."""
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(UsageError, match="is not a verdict"):
        baseline.read(Path(f"/dev/fd/{reading}"))
    os.close(reading)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    folder = run_in(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UsageError, match=r"run\.json cannot be read: Permission denied"):
        read_run(folder)


def test_reports_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--reports"):
        publish.write_pages(tmp_path / "file" / "reports")


def test_names_of_our_own_starts_are_names() -> None:
    for name in ("routes-1", "one-permit", "house-again", "locust", "lab"):
        assert foreign.start_name(name, Path()) == name
