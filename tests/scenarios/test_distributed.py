"""A leader and its load processes in one process: who joins, what is shipped, who is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest

from fake_providers.records import ledger
from fake_providers.records.evidence import Stall
from routerspec import __version__
from routerspec.promises import Cap, Promises
from routerspec.records import observations
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.load_processes import MOST, before_first, observations_file, process_of
from routerspec.scenarios.engine import load_process, messages, shipping
from routerspec.scenarios.engine import load_processes as engine
from routerspec.scenarios.engine.load_process import LoadProcess
from routerspec.scenarios.engine.load_processes import LoadProcesses
from routerspec.scenarios.engine.messages import (
    Failed,
    Got,
    Handlers,
    Join,
    Kept,
    Known,
    Message,
    Mixed,
    Piece,
    Stop,
    Turned,
    Welcome,
    Whole,
)
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.shipping import AHEAD, PIECE, Receiver, Sender, Silence, digest

ROUTE = RoutePlan(
    name="openai",
    provider="openai",
    front="openai",
    path="",
    model="fake-chat",
    nonsense_model="nonsense",
    modes=("chat",),
    implied=True,
    headers={"Authorization": "Bearer <ROUTER_KEY>"},
)
PLAN = LoadPlan(
    token="run1",
    folder="/of/the/leader",
    control="http://127.0.0.1:1",
    control_token="hidden-away",
    routes=(ROUTE,),
    headers={},
    list_path="/v1/models",
    promises=Promises(cap=Cap(limit=4)),
    scenarios=(),
    seed=7,
)
KNOWN = Known(latency_s={"openai": 0.01}, absent=(("openai", "tools"),), broken=())


class Wire:
    """Links between a leader and its load processes: each message is encoded, and none is late."""

    def __init__(self) -> None:
        self.leader = End(self, "")
        self.ends: dict[str, End] = {}
        self.passed: list[Message] = []
        self.drops: Callable[[Message], bool] = lambda message: False

    def end(self, name: str) -> End:
        self.ends[name] = End(self, name)
        return self.ends[name]

    def carry(self, message: Message, sender: str, to: str) -> None:
        self.passed.append(message)
        if self.drops(message):
            return
        message = messages.decode(messages.encode(message))
        (self.ends[to] if to else self.leader).handle(message, sender)


class End(Handlers):
    def __init__(self, wire: Wire, name: str) -> None:
        super().__init__()
        self._wire, self._name = wire, name

    def send(self, message: Message, to: str = "") -> None:
        self._wire.carry(message, self._name, to)


class Clock:
    """Moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Team:
    """A leader, and load processes that write as many stalls as they are told to."""

    def __init__(self, folder: Path) -> None:
        self.wire, self.clock = Wire(), Clock()
        self.run = folder / "run"
        self.run.mkdir()
        self.workers = folder / "workers"
        self.leader = LoadProcesses(
            self.wire.leader, PLAN, "http://127.0.0.1:9", self.run, clock=self.clock
        )
        self.failures: list[str] = []
        self.processes: dict[str, LoadProcess] = {}

    def join(self, name: str) -> LoadProcess:
        """A load process that has asked, and was let in where it could be."""
        process = LoadProcess(
            self.wire.end(name),
            self.workers,
            lambda exchange, error: None,
            opened=lambda plan: plan,
            mixed=lambda session, mixed: session.generation(
                ROUTE, "chat", round_number=mixed.round
            ),
            client=lambda *_: None,
            stop_users=partial(self.stop_users, name),
            fail=self.failures.append,
        )
        self.processes[name] = process
        gevent.sleep(0)
        return process

    def stop_users(self, name: str) -> None:
        self.processes[name].stop()

    def write(self, name: str, count: int) -> None:
        session = self.session(name)
        for number in range(count):
            session.log.append(Stall(at_ns=number, stalled_ns=1))

    def session(self, name: str) -> Session:
        session = self.processes[name]._session
        assert session is not None
        return session

    def file(self, number: int) -> Path:
        return self.run / observations_file(number)


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    monkeypatch.setattr(shipping, "LOOK_S", 0.005)
    monkeypatch.setattr(engine, "_LOOK_S", 0.001)
    monkeypatch.setattr(load_process, "_END_AGAIN_S", 0.02)
    monkeypatch.setattr(load_process, "_ASK_AGAIN_S", 0.01)
    team = Team(tmp_path)
    yield team
    for process in team.processes.values():
        process.stop()
        if process._shipping is not None:
            process._shipping.kill()
    for member in team.leader.members:
        if member.receiver is not None:
            member.receiver.close()


def read(path: Path) -> ledger.Records[Any]:
    return ledger.read_records(path, observations.Record)


def test_each_gets_a_number_and_a_plan_without_keys_or_control(team: Team) -> None:
    team.join("a")
    team.join("b")
    assert [member.number for member in team.leader.members] == [1, 2]
    plan = team.session("b").plan
    assert plan.routes[0].headers == {"Authorization": "Bearer <ROUTER_KEY>"}
    assert (plan.control, plan.control_token, plan.folder) == ("", "", "")
    assert not any(b"hidden-away" in messages.encode(each) for each in team.wire.passed)


def test_numbers_of_requests_are_dense_and_unique_over_all(team: Team) -> None:
    sessions = []
    for name in "abcd":
        team.join(name)
        sessions.append(team.session(name))
    nonces = [
        session.generation(ROUTE, "chat", round_number=1).nonce
        for session in sessions
        for _ in range(1000)
    ]
    assert len(set(nonces)) == 4000
    for number in range(1, 5):
        own = [nonce for nonce in nonces if process_of(nonce) == number]
        assert own == list(range(before_first(number) + 1, before_first(number) + 1001))
    assert sessions[0].list_request(round_number=1).nonce == before_first(1) + 1
    assert sessions[0].rng.random() != sessions[1].rng.random()


def test_users_pause_until_there_is_a_load_and_after_the_stop(team: Team) -> None:
    process = team.join("a")
    assert process.load is None
    team.leader.task(Mixed(run="run1", round=3, known=KNOWN, paced=False))
    assert process.load is not None
    assert process.load.round == 3
    assert team.session("a").latency_s == {"openai": 0.01}
    assert ("openai", "tools") in team.session("a").absent
    team.leader.stop()
    assert process.load is None


def test_who_joins_late_is_told_what_to_do(team: Team) -> None:
    team.leader.task(Mixed(run="run1", round=3, known=KNOWN, paced=False))
    late = team.join("late")
    assert late.load is not None
    assert late.load.round == 3


def test_nobody_joins_a_run_that_is_over(team: Team) -> None:
    team.leader.stop()
    process = team.join("a")
    assert team.leader.members == []
    assert process.file is None
    assert team.failures == []


def test_a_message_of_another_run_changes_nothing(team: Team) -> None:
    process = team.join("a")
    team.wire.leader.send(Mixed(run="other", round=3, known=KNOWN, paced=False), "a")
    team.wire.leader.send(Stop(run="other"), "a")
    assert process.load is None
    assert not process._over


def test_another_version_is_turned_away(team: Team) -> None:
    team.wire.end("old")
    join = Join(part="p", version="0.0", host="h", pid=1)
    team.wire.ends["old"].send(join)
    reply = team.wire.passed[-1]
    assert isinstance(reply, Turned)
    assert reply.reason == (
        f"It has routerspec 0.0, and the master has {__version__}: install the same version on "
        "both."
    )


def test_there_is_room_for_so_many(team: Team) -> None:
    end = team.wire.end("many")
    for number in range(MOST + 1):
        end.send(Join(part=f"p{number}", version=__version__, host="h", pid=number))
    assert isinstance(team.wire.passed[-1], Turned)
    assert len(team.leader.members) == MOST


def test_a_repeated_question_gets_the_same_number(team: Team) -> None:
    end = team.wire.end("a")
    for _ in range(2):
        end.send(Join(part="p", version=__version__, host="h", pid=1))
    numbers = [each.process for each in team.wire.passed if isinstance(each, Welcome)]
    assert numbers == [1, 1]


def test_files_come_byte_for_byte_and_the_copies_go(team: Team) -> None:
    written = {}
    for name in "ab":
        team.join(name)
        team.write(name, 10_000)
    team.wire.drops = lambda message: isinstance(message, Kept)
    team.leader.stop()
    for number, name in enumerate("ab", start=1):
        file = team.processes[name].file
        assert file is not None
        written[number] = file.read_bytes()
    team.wire.drops = lambda message: False
    team.leader.finish()
    for process in team.processes.values():
        process.await_sent()
    assert team.leader.lost == {}
    assert team.leader.here == (1, 2)
    for number, content in written.items():
        assert len(content) > 2 * PIECE
        assert team.file(number).read_bytes() == content
        assert not read(team.file(number)).fault
    assert list(team.workers.iterdir()) == []


def test_what_is_written_comes_while_it_goes_on(team: Team) -> None:
    team.join("a")
    team.write("a", 3)
    gevent.sleep(0.05)
    assert len(team.file(1).read_bytes().splitlines()) == 4
    assert team.leader.here == (1,)
    assert "the run did not end" in team.leader.lost[1]
    team.processes["a"].stop()


def test_lost_messages_are_sent_again(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "AGAIN_S", 0.02)
    seen: dict[type, int] = {}

    def every_other(message: Message) -> bool:
        kind = type(message)
        seen[kind] = seen.get(kind, 0) + 1
        return kind is not Stop and seen[kind] % 2 == 1

    team.wire.drops = every_other
    process = team.join("a")
    while process.file is None:
        gevent.sleep(0.01)
    team.write("a", 5_000)
    team.leader.stop()
    team.leader.finish()
    process.await_sent()
    assert team.leader.lost == {}
    assert len(read(team.file(1)).records) == 5_000


def silent(team: Team, name: str) -> None:
    """As if it was killed: no message of it comes any more."""
    shipping_ = team.processes[name]._shipping
    assert shipping_ is not None
    shipping_.kill()
    gevent.killall(team.processes[name]._greenlets)
    del team.wire.ends[name]
    team.wire.end(name)


def pass_time(team: Team) -> gevent.Greenlet:
    def run() -> None:
        while True:
            team.clock.now += 1
            team.leader.heard("b")
            gevent.sleep(0.001)

    return gevent.spawn(run)


def test_who_is_killed_is_lost_and_what_came_is_kept(team: Team) -> None:
    for name in "ab":
        team.join(name)
        team.write(name, 100)
    gevent.sleep(0.05)
    silent(team, "a")
    passing = pass_time(team)
    team.leader.stop()
    team.leader.finish()
    passing.kill()
    assert list(team.leader.lost) == [1]
    assert team.leader.lost[1].startswith("nothing was heard of it for 15 s (")
    assert team.leader.here == (1, 2)
    short = read(team.file(1))
    assert short.fault == "observations-1.jsonl: no footer, so it is truncated"
    assert len(short.records) == 100
    assert not read(team.file(2)).fault


def test_who_is_killed_before_its_first_byte_came_left_no_file(team: Team) -> None:
    end = team.wire.end("a")
    end.send(Join(part="p", version=__version__, host="h", pid=1))
    passing = pass_time(team)
    team.leader.finish()
    passing.kill()
    assert team.leader.here == ()
    assert list(team.leader.lost) == [1]


def test_a_worker_that_cannot_write_says_so(team: Team) -> None:
    team.workers.write_text("in the way")
    team.join("a")
    assert len(team.failures) == 1
    team.leader.finish()
    assert "it could not begin" in team.leader.lost[1]


def test_a_leader_that_cannot_write_says_so(team: Team) -> None:
    team.file(1).write_text("in the way")
    team.join("a")
    team.write("a", 1)
    team.leader.stop()
    team.leader.finish()
    assert "its records cannot be written here" in team.leader.lost[1]
    assert team.leader.here == ()
    assert team.processes["a"].file is not None


def test_bytes_that_are_not_the_senders_are_not_taken_for_them(team: Team) -> None:
    end = team.wire.end("a")
    end.send(Join(part="p", version=__version__, host="h", pid=1))
    end.send(Piece(run="run1", process=1, offset=0, data=b"{}\n"))
    team.wire.end("b").send(Piece(run="run1", process=1, offset=3, data=b"forged"))
    end.send(Whole(run="run1", process=1, size=3, sha256="0" * 64))
    team.leader.finish()
    assert "is not what it wrote" in team.leader.lost[1]
    end.send(Failed(run="run1", process=1, reason="again"))
    assert "is not what it wrote" in team.leader.lost[1]


def test_no_more_than_so_much_is_on_its_way(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (AHEAD + PIECE))
    sent: list[tuple[int, int]] = []
    clock = Clock()
    sender = Sender(path, lambda offset, data: sent.append((offset, len(data))), clock)
    with path.open("rb") as file:
        while sender.step(file.fileno()):
            pass
        assert sum(size for _, size in sent) == AHEAD
        assert max(size for _, size in sent) == PIECE
        sender.got(PIECE)
        while sender.step(file.fileno()):
            pass
        assert sent[-1] == (AHEAD, PIECE)
        clock.now += shipping.AGAIN_S + 1
        sent.clear()
        sender.step(file.fileno())
        assert sent == [(PIECE, PIECE)]


def test_a_leader_that_is_gone_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "LOOK_S", 0.001)
    path = tmp_path / "file"
    path.write_bytes(b"x")
    clock = Clock()
    sender = Sender(path, lambda offset, data: None, clock)
    sender.close()

    def pass_time() -> None:
        while True:
            clock.now += 1
            gevent.sleep(0.001)

    passing = gevent.spawn(pass_time)
    assert not sender.run()
    passing.kill()
    assert path.exists()


def test_who_was_kept_from_running_itself_blames_nobody() -> None:
    clock = Clock()
    silence = Silence(clock)
    silence.begin()
    clock.now += 1000
    assert not silence.too_long()
    for _ in range(15):
        clock.now += 1
        gone = silence.too_long()
    assert gone
    silence.broken()
    assert not silence.too_long()


def test_a_silence_of_long_ago_leaves_a_last_try() -> None:
    clock = Clock()
    silence = Silence(clock)
    clock.now += 1000
    silence.begin()
    clock.now += 1
    assert not silence.too_long()
    for _ in range(3):
        clock.now += 1
        gone = silence.too_long()
    assert gone


def test_what_comes_twice_or_too_early_is_left_out(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "file")
    for offset, data in ((0, b"abc"), (0, b"abc"), (5, b"f"), (3, b"de")):
        receiver.add(offset, data)
    assert receiver.offset == 5
    assert receiver.path.read_bytes() == b"abcde"
    assert receiver.is_whole(5, digest(receiver.path))
    assert not receiver.is_whole(6, digest(receiver.path))
    assert not receiver.is_whole(5, "0" * 64)
    receiver.close()


def test_what_nobody_of_ours_sends_is_an_error() -> None:
    for raw in (b"", b"\xc1", msgspec.msgpack.encode({"type": "Boo"})):
        with pytest.raises(msgspec.MsgspecError):
            messages.decode(raw)
    assert messages.decode(messages.encode(Got(run="r", offset=1))) == Got(run="r", offset=1)
