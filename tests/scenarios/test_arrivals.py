"""Arrivals in open loop: the arithmetic of the schedule, and how Locust keeps to it."""

from __future__ import annotations

import re
import shlex
import statistics
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import gevent
import gevent.event
import msgspec
import pytest

from routerspec import cli
from routerspec.errors import UsageError
from routerspec.plan.arrivals import Pattern, Share
from routerspec.processes.own_code import locustfile
from routerspec.records.run import RunInfo
from routerspec.scenarios.locust.open_loop import OpenLoop
from tests.support.lab import lab

README = (Path(__file__).parents[2] / "loadtests" / "README.md").read_text()


def gaps(kind: str, rate: float, cv: float, count: int) -> list[float]:
    pattern = Pattern(kind=kind, rate=rate, cv=cv)
    moments = list(islice(pattern.moments(seed=7), count))
    assert moments == sorted(moments)
    return [after - before for before, after in pairwise([0.0, *moments])]


@pytest.mark.parametrize(("kind", "cv"), [("poisson", 1.0), ("bursts", 3.0), ("bursts", 0.5)])
def test_interarrival_times_have_the_requested_rate_and_burstiness(kind: str, cv: float) -> None:
    """Within five standard errors of Gamma's own moments, so the seed is no lucky one."""
    count, rate = 40_000, 20.0
    found = gaps(kind, rate, cv, count)
    mean, spread = statistics.mean(found), statistics.stdev(found)
    assert mean == pytest.approx(1 / rate, abs=5 * cv / rate / count**0.5)
    # Variance of a Gamma sample's variance: (kurtosis 3 + 6 cv^2, less 1) by the count.
    error = ((2 + 6 * cv**2) / count) ** 0.5 / 2
    assert spread / mean == pytest.approx(cv, rel=5 * (error + cv / count**0.5))


def test_a_seed_makes_a_load_reproducible() -> None:
    bursts = Pattern(kind="bursts")
    first, again, other = (list(islice(bursts.moments(seed), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_poisson_ignores_the_burstiness() -> None:
    assert gaps("poisson", 5.0, 13.0, 100) == gaps("poisson", 5.0, 1.0, 100)


def test_a_closed_loop_ignores_the_rate() -> None:
    assert not Pattern(rate=0, cv=0).is_open


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize(
    ("rate", "cv", "message"),
    [
        (0.0, 1.0, "A rate of 0 is not"),
        (1e9, 1.0, "at most 5000"),
        (float("nan"), 1.0, "A rate of nan"),
        (20.0, -1.0, "variation of -1"),
    ],
)
def test_an_invalid_rate_is_refused(kind: str, rate: float, cv: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pattern(kind=kind, rate=rate, cv=cv)


def taken(share: Share, until: float) -> list[float]:
    """What this process does of the schedule until then."""
    moments = []
    while (moment := share.next()) is not None and moment < until:
        moments.append(moment)
        share.take()
    return moments


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_the_shares_together_are_the_schedule_that_was_asked_for(kind: str, processes: int) -> None:
    pattern = Pattern(kind=kind, cv=3.0)
    hands = tuple(range(1, processes + 1))
    whole = [moment for moment in islice(pattern.moments(7), 400) if moment < 10.0]
    together: list[float] = []
    for process in hands:
        share = Share(pattern.moments(7), process)
        share.deal(0.0, hands)
        its = taken(share, 10.0)
        assert len(its) == len(whole[process - 1 :: processes])
        together += its
    assert sorted(together) == whole


def test_a_schedule_is_dealt_anew_where_a_process_is_gone_or_joins() -> None:
    """From the moment on for which all are told, nothing is doubled and nothing is missing."""
    whole = [moment for moment in islice(Pattern().moments(1), 600) if moment < 20.0]
    together: list[float] = []
    for process in (1, 2, 3):
        share = Share(Pattern().moments(1), process)
        share.deal(0.0, (1, 2))
        its = taken(share, 5.0)  # Process 2 is killed here ...
        share.deal(6.0, (1,))  # ... and this is known of it a second later.
        its += taken(share, 6.0) if process == 1 else []
        share.deal(12.0, (1, 3))
        its += taken(share, 20.0)
        together += its if process != 2 else [moment for moment in its if moment < 5.0]
    missing = set(whole) - set(together)
    assert len(together) == len(set(together))
    assert missing == {m for n, m in enumerate(whole) if n % 2 and 5.0 <= m < 6.0}


class Played:
    """An open loop with a clock of its own; users wait for ``answers`` after each request."""

    def __init__(self, moments: list[float], *, users: int) -> None:
        self.now_ns = 1_000_000_000
        self.answers = gevent.event.Event()
        self.due_ns: list[int] = []
        self.loop = OpenLoop(iter(moments), self._make, lambda: self.now_ns)
        self._users = [gevent.spawn(self._serve) for _ in range(users)]
        settle()

    def _make(self, due_ns: int) -> None:
        self.due_ns.append(due_ns)
        self.answers.wait()

    def _serve(self) -> None:
        while True:
            self.loop.serve()

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None:
        gevent.killall(self._users)


def settle() -> None:
    """Run every greenlet until it blocks."""
    for _ in range(5):
        gevent.sleep(0)


def test_a_request_that_waits_for_a_user_is_late_and_timed_from_when_it_was_due() -> None:
    with Played([0.0, 0.0], users=1) as played:
        played.loop.run()
        settle()
        assert played.due_ns == [1_000_000_000]
        assert played.loop.summary() == "2 due; 1 waiting now"
        played.now_ns += 200_000_000
        played.answers.set()
        settle()
        assert played.due_ns == [1_000_000_000] * 2
    assert played.loop.summary().startswith("2 due; 1 late by up to 0.2 s: all users were busy")


def test_requests_that_were_never_sent_are_counted() -> None:
    """A stalled router: all users wait for it, and due requests wait for a user."""
    with Played([0.0] * 7, users=2) as played:
        played.loop.run()
        settle()
        played.now_ns += 3_000_000_000
        played.loop.end()
        settle()
        assert len(played.due_ns) == 2
    summary = played.loop.summary()
    assert summary.startswith("7 due; 5 late by up to 3.0 s: all users were busy")
    assert summary.endswith("; 5 of the late ones never sent")


def test_slow_answers_do_not_shift_the_schedule() -> None:
    with Played([0.0, 0.001, 0.002], users=1) as played:
        played.loop.run()
        settle()
        played.now_ns += 60_000_000_000
        played.answers.set()
        settle()
        assert [due - played.due_ns[0] for due in played.due_ns] == [0, 1_000_000, 2_000_000]


def test_lateness_of_the_process_is_not_put_down_to_its_users() -> None:
    with Played([0.0], users=1) as played:
        played.loop.run()
        played.now_ns += 100_000_000
        settle()
    assert played.loop.summary().startswith("1 due; 1 late by up to 0.1 s with users free: Locust")


def test_with_enough_users_no_request_is_late() -> None:
    with Played([0.0] * 5, users=5) as played:
        played.loop.run()
        settle()
        assert len(played.due_ns) == 5
    assert played.loop.summary() == "5 due, none late"


def test_the_end_releases_waiting_users() -> None:
    loop = OpenLoop(iter([]), lambda _due_ns: None)
    waiting = [gevent.spawn(loop.serve) for _ in range(3)]
    settle()
    loop.end()
    gevent.joinall(waiting, timeout=60)
    assert all(one.successful() for one in waiting)
    loop.serve()
    assert loop.summary() == "0 due, none late"


def loaded(folder: Path, *options: str, extra: str = "") -> tuple[int, str, RunInfo]:
    """Exit status and output of the headless command of a new lab, and its run."""
    with lab(folder, *options) as lines:
        command = shlex.split(f"{lines['headless']} {extra}")
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
    (run,) = (folder / ".routerspec" / "runs").glob("*-locust-*")
    info = msgspec.json.decode((run / "run.json").read_bytes(), type=RunInfo)
    return done.returncode, done.stdout + done.stderr, info


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize(
    ("flaw", "check"),
    [
        ("", ""),
        ("provider-outside-cap", "cap/under-load"),
        ("models-no-second-look", "models/one-fetch-on-expiry"),
    ],
)
def test_a_flaw_is_detected_in_open_loop_and_a_sound_router_is_not_accused(
    kind: str, flaw: str, check: str, tmp_path: Path
) -> None:
    """The line as the lab prints it, for less time."""
    options = ("--flaw", flaw, "--arrivals", kind, "--rate", "150")
    status, output, info = loaded(tmp_path, *options, extra="--rs-seed 5 -t 8s")
    assert "routerspec: arrivals: " in output, output
    assert info.seed == 5
    violated = re.findall(r"(?m)^(\S+) +violated", output)
    assert (status, violated) == ((1, [check]) if flaw else (0, [])), output


@pytest.mark.slow
def test_the_list_is_tested_even_when_all_users_are_busy(tmp_path: Path) -> None:
    """Far more is due than two users can make: the clients of the list are not among them."""
    options = ("--arrivals", "poisson", "--rate", "400")
    status, output, _ = loaded(tmp_path, *options, extra="-u 2 -r 2 -t 8s")
    assert "all users were busy" in output, output
    assert "never sent" in output, output
    assert re.search(r"(?m)^models/one-fetch-on-expiry +held", output), output
    assert status in {0, 3}, output


@pytest.mark.slow
def test_a_latency_profile_of_the_lab_sets_the_pace(tmp_path: Path) -> None:
    """Answers are as long as the profile draws, not 2, 4 or 8 tokens as the mix asks for."""
    options = ("--profile", "hosted-fast", "--arrivals", "poisson", "--rate", "2")
    _, output, _ = loaded(tmp_path, *options, extra="-t 25s")
    assert "arrivals:" in output, output
    (start,) = (tmp_path / ".routerspec" / "runs").glob("*/starts/locust")
    calls = (start / "evidence.jsonl").read_text().splitlines()
    pieces = [msgspec.json.decode(line).get("pieces", 0) for line in calls]
    assert max(pieces) > 8


@pytest.mark.slow
def test_the_options_of_the_readme_are_locusts(tmp_path: Path) -> None:
    """Each row of its table, behind a line that reaches no fakes: all are understood."""
    rows = re.findall(r"(?m)^\| `(--rs-[^`]+)` \|", README)
    assert len(rows) >= 4
    for row in rows:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "locust", "-f", str(locustfile()), "--headless"),
                *("--host", "http://127.0.0.1:9", "--rs-fakes", "http://127.0.0.1:9"),
                *("--rs-cap", "4", "-t", "1s", *shlex.split(row)),
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "unrecognized" not in done.stderr, done.stderr
        assert "routerspec: " in done.stderr, done.stderr
        assert done.returncode == 4, row


def test_a_lab_refuses_an_invalid_rate() -> None:
    with pytest.raises(UsageError, match="A rate of 0"):
        cli_options("lab", "--arrivals", "bursts", "--rate", "0")


def cli_options(*arguments: str) -> None:
    options = cli.parser().parse_args(arguments)
    options.command(options)
