"""Runs that somebody else made: whatever is in their folders, no traceback, no path outside.

FUZZ=5000 pytest -m slow -s tests/commands/test_foreign_runs.py
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from routerspec import cli
from routerspec.judge.judge import judge
from routerspec.records.run import read_run
from tests.corpus.make import HISTORIES
from tests.support import mutations

USAGE = 2
CODES = {
    "held": 0,
    "violated": 1,
    "inconclusive": 3,
    "not judged": 4,
    "harness error": 4,
    "not applicable": 3,
    "discouraged": 0,
}
WEAKER = {"inconclusive", "harness error", "not judged"}
SOURCES = sorted(path.parent for path in HISTORIES.glob("*/*/run.json"))

VERDICTS = sorted((Path(__file__).parents[2] / "reports").glob("*/*/verdict.json"))


class Fuzz:
    """Mutates copies of the corpus, and gives each to every command that reads runs."""

    def __init__(self, seed: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.rng = random.Random(seed)
        self.work, self.capsys = folder / "run", capsys
        self.outside = folder
        self.seen: collections.Counter[str] = collections.Counter()

    def round(self) -> None:
        source = self.rng.choice(SOURCES)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(source, self.work)
        files = sorted(path for path in self.work.rglob("*.json*"))
        done, only_damage = [], True
        for _ in range(self.rng.randint(1, 2)):
            path = self.rng.choice(files)
            if not path.is_file() or path.is_symlink():
                continue
            how = self.rng.choice(
                ("values", "values", "values", "flip", "damage", "damage", "shape")
            )
            try:
                what = self._mutate(path, how)
            except (ValueError, RecursionError):  # no JSON any more
                continue
            only_damage = only_damage and how == "damage" and path.suffix == ".jsonl"
            done.append((path.relative_to(self.work), how, what))
        self._judged(source, done, only_damage=only_damage)
        for command in (
            ["compare", str(source), str(self.work), "--format", "markdown"],
            ["repro", str(self.work), self.rng.choice(("cap/streams", "answers/whole"))],
            ["publish", str(self.work), str(source), str(source), "--reports",
             str(self.outside / "reports")],
        ):  # fmt: skip
            self._ran(command, (source, done))

    def compare(self) -> None:
        """Compare two verdicts, one of them mutated, in both directions and all forms."""
        old = self.rng.choice(VERDICTS)
        document = json.loads(old.read_text())
        for _ in range(self.rng.randint(1, 4)):
            document = mutations.odd_json(document, self.rng)
        new = self.outside / "verdict.json"
        new.write_text(json.dumps(document))
        for order in ((old, new), (new, old)):
            form = self.rng.choice(("table", "markdown", "json"))
            self._ran(["compare", *map(str, order), "--format", form], (old, document))

    def _mutate(self, path: Path, how: str) -> str:
        if how == "values":
            mutations.odd_values(path, self.rng)
        elif how == "flip":
            mutations.flip(path, self.rng)
        elif how == "damage":
            what = self.rng.choice(mutations.DAMAGE)
            mutations.damage(path, what, self.rng)
            return what
        else:
            what = self.rng.choice(mutations.SHAPES)
            mutations.reshape(path, what)
            return what
        return ""

    def _judged(self, source: Path, done: Any, *, only_damage: bool) -> None:
        faces = [
            w
            for face in ("html", "junit", "markdown")
            for w in (f"--{face}", str(self.outside / face))
        ]
        status, out = self._ran(["judge", str(self.work), "--format", "json", *faces], done)
        if status == USAGE:
            return
        verdict = json.loads(out)
        strongest = verdict["outcome"]
        assert status == CODES[strongest] or (status == 3 and strongest == "held"), (done, verdict)
        self.seen[f"judged {strongest}"] += 1
        if only_damage:
            before = {c.id: c.outcome.value for c in judge(read_run(source)).checks}
            for check in verdict["checks"]:
                assert check["outcome"] in {*WEAKER, before[check["id"]]}, (source, done, check)
        self._ran(["judge", str(self.work)], done)

    def _ran(self, command: list[str], about: object) -> tuple[int, str]:
        status = cli.main(command)
        out, err = self.capsys.readouterr()
        assert "internal error" not in err, (command, about, err[-3000:])
        assert "Traceback" not in err, (command, about, err[-3000:])
        assert status in range(5), (command, about, status)
        assert (status != USAGE) or err.startswith("routerspec: "), (command, about, err)
        self.seen[f"{command[0]} {status}"] += 1
        return status, out


def test_some_mutated_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz = Fuzz(1, tmp_path, capsys)
    for _ in range(25):
        fuzz.round()
        fuzz.compare()
    ours = {"run", "reports", "html", "junit", "markdown", "verdict.json"}
    assert {path.name for path in tmp_path.iterdir()} <= ours


@pytest.mark.slow
def test_thousands_of_mutated_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz = Fuzz(int(os.environ.get("SEED", "2")), tmp_path, capsys)
    for _ in range(int(os.environ.get("FUZZ", "5000"))):
        fuzz.round()
        fuzz.compare()
    with capsys.disabled():
        print(f"\n{dict(fuzz.seen.most_common())}")
