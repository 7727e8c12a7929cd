"""Each face of a run in which every text is hostile: nothing but text comes of it."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from fake_providers.records.ledger import Records
from routerspec import cli
from routerspec.checks import REGISTRY
from routerspec.commands import spec
from routerspec.compare import report as compare_report
from routerspec.compare.compare import compare
from routerspec.errors import TargetNotReady
from routerspec.history import history as histories
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.markup.plain import clean, clean_json
from routerspec.processes.child import last_lines
from routerspec.publish import page as pages
from routerspec.publish.rules import Background, Published
from routerspec.records.run import RecordedRun, RecordedStart
from routerspec.report import github, html, junit, markdown, terminal
from routerspec.report import preflight as smoke
from routerspec.repro.report import report_of
from routerspec.verdict import Outcome, Verdict
from routerspec.verify.progress import Progress
from routerspec.verify.progress_display import drawn
from tests.corpus import judged
from tests.support.hostile import HOSTILE, PLAIN, refuse_commands, structure, with_texts

RUNS = ("bad/cap--streams", "bad/models--one-fetch-on-expiry", "bad/keys--stay-home")


def verdict(text: str, *, keep: tuple[str, ...] = ("id",)) -> Verdict:
    read = report_json.encode(judged.verdict("bad/cap--streams"))
    return with_texts(msgspec.json.decode(read, type=Verdict), text, keep)


def run(name: str, text: str) -> RecordedRun:
    """A recorded run with this text in every field of its files."""
    recorded = judged.recorded(name)
    return RecordedRun(
        info=with_texts(recorded.info, text, keep=("selected", "starts")),
        starts=tuple(_start(start, text) for start in recorded.starts),
    )


def _start(start: RecordedStart, text: str) -> RecordedStart:
    def of(records: Records[Any]) -> Records[Any]:
        keep = ("scenario", "kind", "gate", "run", "text")
        changed = tuple(with_texts(record, text, keep) for record in records.records)
        return Records(
            header=records.header, records=changed, footer=records.footer, fault=records.fault
        )

    return RecordedStart(
        info=with_texts(start.info, text, keep=("name", "token", "scenarios")),
        evidence=of(start.evidence),
        observations=of(start.observations),
    )


@pytest.mark.parametrize("terminal_width", [0, 60])
def test_a_terminal_shows_it_and_obeys_nothing(terminal_width: int) -> None:
    for name in RUNS:
        recorded = run(name, HOSTILE)
        for shown in (judge.judge(recorded), verdict(HOSTILE), verdict(HOSTILE, keep=())):
            out = io.StringIO()
            console = Console(
                file=out, width=terminal_width or 80, force_terminal=bool(terminal_width)
            )
            terminal.render(shown, console, HOSTILE)
            smoke.render(recorded, shown, console)
            compare_report.render(compare(shown, judged.verdict(name)), console)
            refuse_commands(re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()))
    progress = Progress()
    progress.playing(HOSTILE, HOSTILE)
    out = io.StringIO()
    Console(file=out, width=80).print(drawn(progress, 1.0))
    refuse_commands(out.getvalue())


def test_json_on_a_terminal_is_the_same_json_without_commands() -> None:
    shown = verdict(HOSTILE, keep=())
    text = report_json.encode(shown)
    refuse_commands(clean_json(text))
    assert msgspec.json.decode(clean_json(text)) == msgspec.json.decode(text)


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", ()))


def test_the_page_has_the_elements_that_it_has_for_plain_words() -> None:
    for name in RUNS:
        pages_ = []
        for text in (PLAIN, HOSTILE):
            recorded = run(name, text)
            shown = html.render(judge.judge(recorded), histories.build(recorded), text)
            refuse_commands(shown)
            pages_.append(_Elements(shown).found)
            history = histories.build(recorded)
            more = (verdict(text), verdict(text, keep=()))
            pages_ += [_Elements(html.render(words, history, text)).found for words in more]
        half = len(pages_) // 2
        assert pages_[:half] == pages_[half:]


def test_junit_is_xml_with_the_elements_that_it_has_for_plain_words() -> None:
    shapes = []
    for text in (PLAIN, HOSTILE):
        for shown in (verdict(text), verdict(text, keep=())):
            info = run(RUNS[0], text).info
            document = junit.encode(shown, info)
            refuse_commands(document)
            tree = ElementTree.fromstring(document)
            shapes.append([(each.tag, sorted(each.attrib)) for each in tree.iter()])
    assert shapes[:2] == shapes[2:]


def test_markdown_has_the_elements_that_it_has_for_plain_words() -> None:
    shapes = []
    for text in (PLAIN, HOSTILE):
        documents = []
        for name in RUNS:
            recorded = run(name, text)
            found = judge.judge(recorded)
            for shown in (found, verdict(text), verdict(text, keep=())):
                documents.append(markdown.encode(shown, recorded.info))
                documents.append(compare_report.markdown(compare(shown, judged.verdict(name))))
            published = Published(place="a/1", infos=(recorded.info,) * 3, verdicts=(found,) * 3)
            background = Background(
                homepage=text, install=text, documented=(("cap", text, text),),
                scripted=frozenset(REGISTRY),
            )  # fmt: skip
            documents.append(pages.report(published, background))
            documents.append(pages.matrix([published]))
            documents += [
                report_of(recorded, check, script=text, command=None, documented=())
                for check in found.checks
                if check.outcome is Outcome.VIOLATED
            ]
        for document in documents:
            refuse_commands(document)
        shapes.append([structure(document) for document in documents])
    for plain, hostile in zip(*shapes, strict=True):
        assert hostile == plain


def test_annotations_are_ours_alone() -> None:
    for shown in (verdict(HOSTILE), verdict(HOSTILE, keep=())):
        text = github.lines(shown)
        assert text
        for line in text.splitlines():
            command = re.fullmatch(r"::(?:error|warning|notice) title=([^:,]*)::(.*)", line)
            assert command, line
            refuse_commands(command[1] + command[2])


def test_the_end_of_a_log_is_harmless_wherever_it_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    log.write_bytes(HOSTILE.encode("utf-8", "surrogatepass") + b"\xff\x9b31m")
    refuse_commands(last_lines(log, 30))
    assert clean(last_lines(log)) == last_lines(log), "twice is once"


@pytest.mark.parametrize("error", [TargetNotReady(HOSTILE), ValueError(HOSTILE)])
def test_errors_on_stderr_are_harmless(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one has the end of a router's log in it, the other is a fault of ours."""

    def fails(_: object) -> int:
        raise error

    monkeypatch.setattr(spec, "_list", fails)
    assert cli.main(["list"]) == 4
    refuse_commands(capsys.readouterr().err)
