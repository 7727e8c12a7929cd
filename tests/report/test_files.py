"""Files beside the output: created where requested, refused before the load; GitHub annotations."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from routerspec import cli
from routerspec.commands import report_options, verify
from routerspec.judge import judge
from routerspec.records.run import read_run
from tests.corpus.make import HISTORIES
from tests.report.stories import Page
from tests.support.cli import Ran, routerspec

RUN = str(HISTORIES / "bad" / "cap--streams")


def judged(*options: str, cwd: Path) -> Ran:
    return routerspec("judge", RUN, *options, cwd=cwd)


def test_judge_writes_all_three_beside_what_it_prints(tmp_path: Path) -> None:
    options = ("--html", "out/a/page.html", "--junit", "out/b.xml", "--markdown", "out/c.md")
    result = judged(*options, "--format", "json", cwd=tmp_path)
    assert result.status == 1
    assert result.outcomes["cap/streams"] == "violated"
    page = Page((tmp_path / "out/a/page.html").read_text())
    assert [a["id"] for a in page.all("article")] == ["cap--streams"]
    schema = xmlschema.XMLSchema(Path(__file__).parent / "schemas" / "junit-10.xsd")
    schema.validate(tmp_path / "out/b.xml")
    assert "❌ `cap/streams`" in (tmp_path / "out/c.md").read_text()


@pytest.mark.parametrize("word", ["--html", "--junit", "--markdown"])
def test_an_unwritable_path_is_reported_before_anything_starts(word: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path, reason in ((".", "Is a directory"), ("file/below", "Not a directory")):
        result = routerspec("verify", "--only", "cap/streams", word, path, cwd=tmp_path)
        assert result.status == 2
        assert f"{word} {path} cannot be written: {reason}" in result.err or (
            f"{word} {path} cannot be written: File exists" in result.err
        )
        assert not (tmp_path / ".routerspec").exists()
    assert (tmp_path / "file").read_text() == "kept"


def test_trying_a_place_leaves_nothing_behind_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.xml"
    old.write_text("from before")
    tried: list[Any] = []

    def nothing_runs(*_: Any, **__: Any) -> int:
        tried.append(old.read_text())
        assert not (tmp_path / "sub" / "page.html").exists()
        return 0

    monkeypatch.setattr(verify, "_run", nothing_runs)
    page = str(tmp_path / "sub" / "page.html")
    assert cli.main(["verify", "--junit", str(old), "--html", page]) == 0
    assert tried == ["from before"]


def test_one_file_for_two_reports_is_refused(tmp_path: Path) -> None:
    result = judged("--html", "x", "--junit", "./x", cwd=tmp_path)
    assert result.status == 2
    assert "is given for two reports" in result.err
    assert not (tmp_path / "x").exists()


def test_a_long_run_gets_its_page_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_options, "_MOST_BYTES", 100)
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder)
    message = report_options.leave_page(judge.judge(read_run(folder)), folder)
    assert f"`routerspec judge {folder} --html FILE`" in message
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("form", ["table", "json"])
def test_verify_annotates_on_github_and_writes_a_page(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with a flaw, as a workflow would run it."""
    summary = tmp_path / "summary.md"
    summary.write_text("what an earlier step said\n")
    monkeypatch.setitem(os.environ, "GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setitem(os.environ, "GITHUB_ACTIONS", "true")
    options = ("--only", "cap/streams", "--flaw", "permit-freed-at-head", "--format", form)
    result = routerspec("verify", *options, "--html", "mine/page.html", cwd=tmp_path)
    assert result.status == 1, result.err
    text = summary.read_text()
    assert text.startswith("what an earlier step said\n## ❌ reference --flaw permit-freed")
    assert ("::error title=cap/streams violated::" in result.out) == (form == "table")
    if form == "table":
        first, *_ = result.out.splitlines()
        token = first.removeprefix("::stop-commands::")
        table, commands = result.out.split(f"\n::{token}::\n")
        assert "The cap is 4" in table
        assert all(line.startswith("::error ") for line in commands.splitlines())
    if form == "json":
        assert result.outcomes == {"cap/streams": "violated"}
    (left,) = (tmp_path / ".routerspec/runs").glob("*/report.html")
    assert result.err.rstrip().endswith(f"Report: {left}")
    assert Page(left.read_text()).all("article")
    assert (tmp_path / "mine/page.html").read_text() == left.read_text()
