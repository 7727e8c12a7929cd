"""`routerspec publish`: refused runs, the files written, and nothing of this machine in them."""

from __future__ import annotations

import getpass
import lzma
import os
import shutil
from functools import cache
from pathlib import Path

import msgspec
import pytest

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.judge import judge
from routerspec.markup.tables import Span
from routerspec.promises import Promises
from routerspec.publish import folder as published
from routerspec.publish import publish
from routerspec.publish.page import issue
from routerspec.publish.rules import path_word, target_word, version_word
from routerspec.publish.scrub import HIDDEN, PATH, packed_text, published_command, scrubbed
from routerspec.records.load_plan import LoadPlan
from routerspec.records.run import RunInfo, read_run
from routerspec.verdict import Verdict
from tests.corpus.builder import Start, run_of, write_run
from tests.corpus.make import BAD, GOOD
from tests.support.cli import routerspec

REPORTS = Path(__file__).parents[2] / "reports"
PUBLISHED = sorted(path.parent for path in REPORTS.glob("*/*/run.json"))


def runs(folder: Path, tell: object, count: int = 3, **changed: object) -> list[Path]:
    """``count`` runs with one and the same history, distinguished by their tokens."""
    made = []
    for number in range(count):
        starts, info = tell()  # type: ignore[operator]
        path = folder / f"run-{number}"
        write_run(path, *starts, **{"selected": tuple(REGISTRY)} | info)
        rewrite(path, run=f"run{number}", version="router v1.2.3", **changed)
        made.append(path)
    return made


def rewrite(path: Path, **changed: object) -> None:
    info = msgspec.json.decode((path / "run.json").read_bytes(), type=RunInfo)
    info = msgspec.structs.replace(info, **changed)
    (path / "run.json").write_bytes(msgspec.json.encode(info))


def outcomes(folder: Path) -> dict[str, str]:
    return {c.id: c.outcome.value for c in judge.judge(read_run(folder)).checks}


@pytest.mark.parametrize("name", sorted(GOOD)[::5])
def test_a_published_run_is_judged_as_the_original(name: str, tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD[name])
    done = publish.publish(made, tmp_path / "reports")
    assert done.folder.name == "1.2.3"
    assert outcomes(done.folder) == outcomes(made[0])
    (result,) = published.read_all(tmp_path / "reports")
    assert result.verdicts == (judge.judge(read_run(done.folder)),) * 3


@pytest.mark.parametrize("check", ["cap/streams", "models/one-fetch-cold", "keys/stay-home"])
def test_a_violation_is_published_with_its_witness(check: str, tmp_path: Path) -> None:
    made = runs(
        tmp_path, BAD[check], selected=(check,), known={check: "https://x.org/a/b/issues/7"}
    )
    done = publish.publish(made, tmp_path / "reports")
    assert outcomes(done.folder) == {check: "violated"}
    page = (done.folder / "README.md").read_text()
    witness = judge.judge(read_run(made[0])).checks[0].witness
    assert witness is not None
    assert witness.sentence in page
    assert "[a/b#7](https://x.org/a/b/issues/7)" in page
    assert "Three runs, all with the same results" in page
    assert "a/b#7" in (tmp_path / "reports" / "README.md").read_text()


@pytest.mark.parametrize(("target", "named"), [("haproxy", True), ("nobody-knows-it", False)])
def test_the_page_names_the_script_of_a_violation_where_one_can_be_written(
    target: str, named: bool, tmp_path: Path
) -> None:
    made = runs(tmp_path, BAD["cap/streams"], selected=("cap/streams",), target=target)
    done = publish.publish(made, tmp_path / "reports")
    page = (done.folder / "README.md").read_text()
    assert (f"routerspec repro reports/{target}/1.2.3 cap/streams" in page) is named


def test_the_same_runs_make_the_same_files(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"])
    first = publish.publish(made, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "kept")
    second = publish.publish(made, tmp_path / "one")
    assert (first.replaced, second.replaced) == (False, True)
    kept = {p.relative_to(tmp_path / "kept"): p for p in (tmp_path / "kept").rglob("*.*")}
    assert kept
    for name, path in kept.items():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_too_few_runs_or_twice_the_same_are_refused(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"])
    with pytest.raises(UsageError, match="at least 3 runs"):
        publish.publish(made[:2], tmp_path / "reports")
    with pytest.raises(UsageError, match="given twice"):
        publish.publish([*made[:2], made[0]], tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "2"}, "version is router v1.2.3 in one and 2 in another"),
        ({"target": "other"}, "target is"),
        ({"selected": ("cap/streams",)}, "selected is"),
        ({"version": "unknown"}, "--as-version"),
        ({"target": "reference --flaw no-cap"}, "deliberate flaw"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"])
    rewrite(made[1], **changed)
    with pytest.raises(UsageError, match=message):
        publish.publish(made, tmp_path / "reports")


def test_held_in_one_run_and_violated_in_another_is_refused(tmp_path: Path) -> None:
    made = runs(tmp_path / "good", GOOD["cap-held-on-every-route"], selected=("cap/streams",))
    (bad,) = runs(tmp_path / "bad", BAD["cap/streams"], count=1, selected=("cap/streams",))
    good = msgspec.json.decode((made[0] / "run.json").read_bytes(), type=RunInfo)
    rewrite(bad, run="bad", target=good.target, promises=good.promises, routes=good.routes)
    with pytest.raises(UsageError, match=r"cap/streams held in .* and was violated in .*bad"):
        publish.publish([*made[:2], bad], tmp_path / "reports")


def test_a_race_that_its_makers_know_need_not_show_in_every_run(tmp_path: Path) -> None:
    """Published with the history that has the witness, and with how often it was seen."""
    made = runs(tmp_path / "good", GOOD["cap-held-on-every-route"], selected=("cap/streams",))
    (bad,) = runs(tmp_path / "bad", BAD["cap/streams"], count=1, selected=("cap/streams",))
    good = msgspec.json.decode((made[0] / "run.json").read_bytes(), type=RunInfo)
    rewrite(bad, run="bad", target=good.target, promises=good.promises, routes=good.routes)
    for path in (*made[:2], bad):
        rewrite(path, known={"cap/streams": "https://x.org/a/b/issues/7"})
    done = publish.publish([*made[:2], bad], tmp_path / "reports")
    assert outcomes(done.folder) == {"cap/streams": "violated"}
    assert "1 of 3, 2 held" in (done.folder / "README.md").read_text()


def test_inconclusive_in_one_run_is_reported(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"], selected=("cap/streams",))
    for path in made[2].glob("starts/*/start.json"):
        path.write_text(path.read_text().replace('"router_exit": null', '"router_exit": 1'))
    assert outcomes(made[2]) == {"cap/streams": "inconclusive"}
    done = publish.publish(made, tmp_path / "reports")
    page = (done.folder / "README.md").read_text()
    assert "| `cap/streams` | held | 2 of 3, 1 inconclusive |" in page
    assert "differing in `cap/streams`" in page


def test_a_broken_published_history_is_no_evidence(tmp_path: Path) -> None:
    made = runs(tmp_path, BAD["cap/streams"], selected=("cap/streams",))
    done = publish.publish(made, tmp_path / "reports")
    path = next(done.folder.glob("starts/*/evidence.jsonl.xz"))
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not xz at all", b""):
        path.write_bytes(broken)
        assert outcomes(done.folder) == {"cap/streams": "harness error"}
    path.write_bytes(whole)
    assert outcomes(done.folder) == {"cap/streams": "violated"}


def test_a_truncated_run_is_refused(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"])
    path = next(made[1].glob("starts/*/evidence.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(UsageError, match="no footer"):
        publish.publish(made, tmp_path / "reports")


def test_nothing_of_this_machine_is_published(tmp_path: Path, monkeypatch: object) -> None:
    home, key = str(Path.home()), "sk-live-0123456789"
    error = f'Traceback: File "{home}/router/app.py", line 3; /usr/lib/python3/json.py; {key}'
    made = runs(
        tmp_path,
        GOOD["cap-held-on-every-route"],
        command=f"routerspec verify {home}/mine/my.toml --runs {tmp_path}/x --key {key}",
        not_applicable={"slots/cap-of-one": f"it cannot be started: {tmp_path}/router/x failed"},
    )
    for path in made:
        log = next(path.glob("starts/*/observations.jsonl"))
        encoded = msgspec.json.encode(error)
        log.write_bytes(log.read_bytes().replace(b'"error":""', b'"error":' + encoded, 1))
        (log.parent / "router.log").write_text(home)
        head = log.read_bytes().splitlines()[0]
        mine = head.replace(b'"host":"', f'"host":"{"my-own-machine-"}'.encode())
        log.write_bytes(log.read_bytes().replace(head, mine))
        (log.parent / "plan.json").write_bytes(msgspec.json.encode(plan(tmp_path, key)))
    done = publish.publish(made, tmp_path / "reports")
    files = [path for path in done.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "README.md", "run.json", "start.json", "verdict.json", "verdict-2.json", "verdict-3.json",
        "evidence.jsonl.xz", "observations.jsonl.xz", "badge-core.json", "badge-core.svg",
        "index.html",
    }  # fmt: skip
    text = ""
    for path in files:
        raw = path.read_bytes()
        text += (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode()
    for word in (home, str(tmp_path), key, "my-own-machine", "/usr/lib", os.uname().nodename):
        if len(word) > 3:
            assert word not in text
    assert f'File \\"{PATH}\\", line 3; {PATH}; {HIDDEN}' in text
    assert "routerspec verify ./my.toml --key <key>" in text
    if len(getpass.getuser()) >= 6:
        assert getpass.getuser() not in text


def plan(folder: Path, key: str) -> LoadPlan:
    return LoadPlan(
        token="t", folder=str(folder), control="", routes=(), scenarios=(), seed=1,
        headers={"Authorization": f"Bearer {key}"}, list_path="", promises=Promises(),
    )  # fmt: skip


def test_a_header_that_is_a_word_is_not_private(tmp_path: Path) -> None:
    """``openai`` stands in every answer: hidden, no two sides of a transcript would agree."""
    start = tmp_path / "starts" / "one"
    start.mkdir(parents=True)
    made = plan(tmp_path, "sk-0123456789abcdef")
    made.headers["x-provider"] = "openai"
    (start / "plan.json").write_bytes(msgspec.json.encode(made))
    words = publish._private_words(tmp_path)
    assert "sk-0123456789abcdef" in words
    assert "openai" not in words


def test_a_secret_in_a_run_stops_the_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "a-secret-of-mine")
    made = runs(tmp_path, GOOD["cap-held-on-every-route"], known={"x": "see a-secret-of-mine"})
    with pytest.raises(UsageError, match=r"run.json would contain the value of MY_TOKEN"):
        publish.publish(made, tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_clocks_stay_comparable_without_their_names(tmp_path: Path) -> None:
    (made,) = runs(tmp_path, GOOD["cap-held-on-every-route"], count=1)
    clean = scrubbed(read_run(made), [], "1")
    headers = [r.header for s in clean.starts for r in (s.evidence, s.observations)]
    assert {h.boot for h in headers if h} == {"clock-1"}
    assert {h.host for h in headers if h} == {HIDDEN}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("verify haproxy --only cap/streams", "verify haproxy --only cap/streams"),
        ("verify /a/b/my.toml:tuned --runs=/tmp/x", "verify ./my.toml:tuned"),
        ("verify --url http://127.0.0.1:1 --key=k", "verify --url http://127.0.0.1:1 --key <key>"),
        ("verify --format json --seed 7", "verify --seed 7"),
    ],
)  # fmt: skip
def test_a_published_command_works_on_another_machine(typed: str, expected: str) -> None:
    assert published_command(f"routerspec {typed}") == f"routerspec {expected}"


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("0.1.0", "0.1.0"),
        ("v3", "v3"),
        ("../..", "unnamed"),
        ("nightly build / main", "nightly-build-main"),
    ],
)
def test_versions_are_folders(version: str, word: str) -> None:
    assert version_word(version) == word


def test_names_are_folders_too() -> None:
    assert target_word("reference:rejecting") == "reference--rejecting"
    assert path_word("a b/../c") == "a-b-..-c"


def test_an_issue_is_called_by_its_number_where_it_has_one() -> None:
    pull = "https://github.com/a/b/pull/12"
    assert issue("said on the mailing list") == Span("said on the mailing list")
    assert issue(pull) == Span("a/b#12", link=pull)
    assert issue("https://x.org/y") == Span("https://x.org/y", link="https://x.org/y")


def test_the_command_publishes_judges_again_and_writes_the_matrix(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"])
    done = routerspec("publish", *map(str, made), cwd=tmp_path)
    assert done.status == 0, done.err
    (folder,) = (tmp_path / "reports").glob("*/*/")
    assert routerspec("judge", str(folder), cwd=tmp_path).status == 0
    page = tmp_path / "reports" / "README.md"
    before = page.read_text()
    page.write_text("")
    assert routerspec("publish", "--matrix", cwd=tmp_path).status == 0
    assert page.read_text() == before
    assert routerspec("publish", cwd=tmp_path).status == 2


def test_the_matrix_of_what_is_published_is_up_to_date() -> None:
    assert (REPORTS / "README.md").read_text(encoding="utf-8") == publish.matrix(
        REPORTS, published.read_all(REPORTS)
    )


@cache
def published_verdicts() -> dict[str, tuple[Verdict, ...]]:
    """Folder -> the published verdicts of its runs; cached, as reading all takes half a second."""
    return {result.place: result.verdicts for result in published.read_all(REPORTS)}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_published_history_is_judged_as_it_was(folder: Path) -> None:
    before = published_verdicts()[folder.relative_to(REPORTS).as_posix()]
    assert len(before) >= 3
    now = judge.judge(read_run(folder))
    assert now.outcome is before[0].outcome
    for was, is_ in zip(before[0].checks, now.checks, strict=True):
        assert (is_.id, is_.outcome, dict(is_.numbers)) == (was.id, was.outcome, dict(was.numbers))
        assert (is_.witness is None) == (was.witness is None)


def test_transcripts_are_published_without_what_is_private() -> None:
    start = Start()
    number = start.round("wire-answers", 0, 5)
    start.relayed(
        number, sent=b"sent sk-live-0123456789", read=b"read my-own-word", asked=b"/tmp/x"
    )
    start.relayed(number, sent=b"{}", read=b"see /home/me/app.py", status=500)
    clean = scrubbed(run_of(start, selected=()), ["my-own-word", "sk-live-0123456789"], "1")
    records = [*clean.starts[0].evidence.records, *clean.starts[0].observations.records]
    text = packed_text(records)
    assert sorted(set(text.split("\n"))) == [
        "/tmp/x", f"read {HIDDEN}", f"see {PATH}", f"sent {HIDDEN}", "{}",
    ]  # fmt: skip
