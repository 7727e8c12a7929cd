"""Where the seconds of a run went: the file, the table, the page and the critical path."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import tostring

import msgspec
import pytest
from rich.console import Console

from routerspec.errors import UsageError
from routerspec.records import timings
from routerspec.records.timings import ScenarioTimes, StartTimes, Timings
from routerspec.report import timings as report


def start(name: str, *moments: float, **more: float) -> StartTimes:
    turn, up, machine, playing, over, stopped = moments
    return StartTimes(
        name=name,
        turn_s=turn,
        up_s=up,
        machine_s=machine,
        playing_s=playing,
        over_s=over,
        stopped_s=stopped,
        scenarios=(ScenarioTimes(name="smoke", from_s=playing, until_s=over),),
        cpu_s=more,
    )


RUN = Timings(
    seconds=20.5,
    judging_s=0.5,
    cpu_s=1.0,
    processors=2,
    starts=(
        start("waves", 0.0, 1.0, 1.0, 2.0, 11.0, 11.5, fakes=1.0, load=2.0, router=3.0),
        start("lists", 0.0, 1.0, 1.0, 2.1, 5.0, 5.1),
        start("cap-1", 2.0, 2.5, 2.5, 3.0, 4.0, 4.1, load=1.0),
        start("load", 3.0, 4.0, 11.5, 12.0, 19.8, 20.0, router=1.5),
    ),
)


def test_the_file_is_read_back(tmp_path: Path) -> None:
    timings.write(tmp_path, RUN)
    assert timings.read(tmp_path) == RUN


def test_an_older_run_has_none_and_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no timings\.json.*verify --timings"):
        timings.read(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        msgspec.structs.replace(RUN, seconds=-1.0),
        msgspec.structs.replace(RUN, starts=(start("../x", *[0.0] * 6),)),
        msgspec.structs.replace(RUN, starts=(start("x", *[1e300] * 6),)),
        msgspec.structs.replace(RUN, starts=(start("x", *[0.0] * 6, **{"\x1b[2J": 1.0}),)),
    ],
)
def test_a_file_that_nobody_wrote_is_refused(tmp_path: Path, wrong: Timings) -> None:
    timings.write(tmp_path, wrong)
    with pytest.raises(UsageError, match=r"timings\.json"):
        timings.read(tmp_path)


def test_the_critical_path_leads_back_over_what_was_waited_for() -> None:
    steps = [(step.what, step.from_s, step.until_s) for step in report.critical_path(RUN)]
    assert steps == [
        ("waves starts up", 0.0, 2.0),
        ("waves plays", 2.0, 11.0),
        ("waves stops", 11.0, 11.5),
        ("load: the load starts", 11.5, 12.0),
        ("load plays", 12.0, 19.8),
        ("load stops", 19.8, 20.0),
        ("reading, judging, files", 20.0, 20.5),
    ]


def test_a_start_that_waited_for_its_turn_waited_for_the_first_round_of_another() -> None:
    run = msgspec.structs.replace(RUN, starts=RUN.starts[:3])
    run = msgspec.structs.replace(
        run, starts=(run.starts[1], start("cap-1", 2.2, 2.5, 2.5, 3.0, 14.0, 14.1))
    )
    whats = [step.what for step in report.critical_path(run)]
    assert whats[:3] == ["lists starts up", "cap-1 starts up", "cap-1 plays"]
    assert report.critical_path(msgspec.structs.replace(RUN, starts=())) == []


def test_the_table_has_a_line_for_each_start(capsys: pytest.CaptureFixture[str]) -> None:
    report.render(RUN, Console(width=100, force_terminal=True, color_system=None))
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert "20.5 on 2 processors, 0.5 of them for judging" in text
    assert "processor time 9.5 (router 4.5, fakes 1.0, load 3.0, verify 1.0)" in text
    row = next(line for line in lines if line.startswith("load"))
    assert row.split()[1:7] == ["10.5", "1.5", "7.8", "0.2", "-", "1.5"]
    assert "9.0 waves plays (2.0 to 11.0)" in text


def test_the_page_has_it_folded() -> None:
    (details,) = report.html(RUN)
    text = tostring(details, encoding="unicode")
    assert text.startswith("<details>")
    assert text.count("<tr>") == 1 + len(RUN.starts)
    assert list(report.html(msgspec.structs.replace(RUN, starts=()))) == []
