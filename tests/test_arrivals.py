"""When requests arrive in open loop: the schedule's own arithmetic, and what Locust makes of it."""

from __future__ import annotations

import shlex
import statistics
import subprocess
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import gevent
import gevent.queue
import msgspec
import pytest

from routerspec.errors import UsageError
from routerspec.run import RunInfo
from routerspec.scenarios import arrivals
from tests.lab import lab


def gaps(kind: str, rate: float, cv: float, count: int) -> list[float]:
    moments = list(islice(arrivals.moments(kind, rate, cv, seed=7), count))
    assert moments == sorted(moments)
    return [after - before for before, after in pairwise([0.0, *moments])]


@pytest.mark.parametrize(("kind", "cv"), [("poisson", 1.0), ("bursts", 3.0), ("bursts", 0.5)])
def test_gaps_have_the_rate_and_the_burstiness_that_was_asked_for(kind: str, cv: float) -> None:
    """Within five standard errors of Gamma's own moments, so the seed is no lucky one."""
    count, rate = 40_000, 20.0
    found = gaps(kind, rate, cv, count)
    mean, spread = statistics.mean(found), statistics.stdev(found)
    assert mean == pytest.approx(1 / rate, abs=5 * cv / rate / count**0.5)
    # Variance of a Gamma sample's variance: (kurtosis 3 + 6 cv^2, less 1) by the count.
    error = ((2 + 6 * cv**2) / count) ** 0.5 / 2
    assert spread / mean == pytest.approx(cv, rel=5 * (error + cv / count**0.5))


def test_the_same_seed_is_the_same_load_and_another_is_another() -> None:
    first, again, other = (
        list(islice(arrivals.moments("bursts", 20.0, 13.0, seed), 50)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_poisson_asks_nothing_of_the_burstiness() -> None:
    assert gaps("poisson", 5.0, 13.0, 100) == gaps("poisson", 5.0, 1.0, 100)


def test_who_waits_for_a_user_is_late_and_is_told_so() -> None:
    """Two requests due at once and one user, who is busy for a while with the first."""
    jobs: gevent.queue.Queue[Callable[[], None]] = gevent.queue.Queue()
    made: list[int] = []

    def make(due_ns: int) -> None:
        made.append(due_ns)
        gevent.sleep(0.2)

    opened = arrivals.Arrivals(iter([0.0, 0.0]), make)
    opened.run(jobs)
    while not jobs.empty():
        jobs.get()()
    assert len(made) == 2
    assert made[0] == made[1]
    assert (opened.due, opened.late) == (2, 1)
    assert opened.worst_s >= 0.2
    assert "2 due, 1 late" in opened.words()
    assert "-u" in opened.words()


def test_nobody_is_late_where_there_are_users_enough() -> None:
    opened = arrivals.Arrivals(iter([0.0]), lambda _due_ns: None)
    jobs: gevent.queue.Queue[Callable[[], None]] = gevent.queue.Queue()
    opened.run(jobs)
    jobs.get()()
    assert opened.words() == "1 due, none late"


def loaded(folder: Path, flaw: str, *words: str, profile: str = "") -> tuple[int, str, RunInfo]:
    """Exit status and words of a headless Locust in open loop on a lab of its own, and its run."""
    flawed = ("--flaw", flaw) if flaw else ()
    slow = ("--profile", profile) if profile else ()
    with lab(folder, *flawed, *slow) as told:
        command = shlex.split(told["headless"])
        done = subprocess.run(
            [*command, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
    (run,) = (folder / ".routerspec" / "runs").glob("*-locust-*")
    info = msgspec.json.decode((run / "run.json").read_bytes(), type=RunInfo)
    return done.returncode, done.stdout + done.stderr, info


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize("flaw", ["", "provider-outside-cap"])
def test_a_flaw_shows_in_open_loop_and_a_sound_router_is_not_accused(
    kind: str, flaw: str, tmp_path: Path
) -> None:
    words = ("--rs-arrivals", kind, "--rs-rate", "150", "--rs-seed", "5", "-t", "8s")
    status, told, info = loaded(tmp_path, flaw, *words)
    assert "routerspec: arrivals: " in told, told
    assert info.seed == 5
    assert "cap/under-load" in told
    assert status == (1 if flaw else 0), told


@pytest.mark.slow
def test_a_latency_profile_of_the_lab_sets_the_pace(tmp_path: Path) -> None:
    """Answers are as long as the profile draws, not 2, 4 or 8 tokens as the mix asks for."""
    words = ("--rs-arrivals", "poisson", "--rs-rate", "2", "-t", "25s")
    _, told, _ = loaded(tmp_path, "", *words, profile="hosted-fast")
    assert "arrivals:" in told, told
    (start,) = (tmp_path / ".routerspec" / "runs").glob("*/starts/locust")
    calls = (start / "evidence.jsonl").read_text().splitlines()
    pieces = [msgspec.json.decode(line).get("pieces", 0) for line in calls]
    assert max(pieces) > 8


@pytest.mark.parametrize(
    ("rate", "cv", "told"),
    [
        (0.0, 1.0, "--rs-rate 0 is not"),
        (1e9, 1.0, "at most 5000"),
        (20.0, -1.0, "--rs-burst-cv -1"),
    ],
)
def test_a_rate_that_is_none_is_refused(rate: float, cv: float, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        arrivals.open_loop("bursts", rate=rate, cv=cv, seed=0, make=lambda _due_ns: None)


def test_a_closed_loop_has_no_arrivals() -> None:
    closed = arrivals.open_loop("closed", rate=0, cv=0, seed=0, make=lambda _due_ns: None)
    assert closed is None
