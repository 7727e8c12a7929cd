"""Starting and stopping processes: readiness, last output, ports, and cleanup."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from fake_providers.records.evidence import Evidence
from fake_providers.records.ledger import read_records
from routerspec.errors import HarnessError, TargetNotReady, UsageError
from routerspec.processes import own_code
from routerspec.processes import router as router_start
from routerspec.processes.child import Child, output_of
from routerspec.processes.control import Control
from routerspec.processes.launch import (
    Fakes,
    attach,
    last_lines,
    placeholder_values,
    start_fakes,
    start_load,
    start_router,
)
from routerspec.processes.ports import FakePorts, checked_url, free_port, is_taken
from routerspec.records.load_plan import ControlAccess
from routerspec.records.run import Settings
from routerspec.targets import Target, builtin_targets, load_target, read_target
from routerspec.verify import start_run
from tests.support import http
from tests.support.signals import default_signals

SETTINGS = Settings(cap=4, models_ttl_s=2.0)

SERVER = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(repr(dict(os.environ)).encode())
    def log_message(self, *args): pass
print("serving on", sys.argv[1], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def target_of(script: str, *, ready: str = '"/health"', timeout_s: float = 10.0) -> Target:
    """A router that is a Python script; its port is its first argument."""
    quoted = script.replace("\\", "\\\\")
    return read_target(
        f"""
name = "toy"
install = "write it"
[start]
command = ["{sys.executable}", "-c", '''{quoted}''', "{{port}}", "{{dir}}"]
{f"ready = {ready}" if ready else ""}
ready_timeout_s = {timeout_s}
env = {{ CAP = "{{cap}}", KEY = "{{openai_key}}" }}
files = {{ "etc/toy.conf" = "server {{ listen {{port}}; }} {{openai_url}}" }}
[routes]
openai = "{{model}}"
""",
        "toy.toml",
    )


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    with start_fakes(tmp_path_factory.mktemp("fakes"), "abc") as running:
        yield running


def is_gone(pid: int) -> bool:
    """No process of that id, or a dead one whose parent has not yet waited for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    give_up = time.monotonic() + within_s
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


def test_the_fakes_listen_and_close_their_ledger(tmp_path: Path) -> None:
    with start_fakes(tmp_path, "abc") as fakes:
        for url, path in (
            (fakes.openai_url, "/v1/models"),
            (fakes.ollama_url, "/api/tags"),
            (fakes.control_url, "/control/health"),
        ):
            assert http.get(url + path).status_code == 200
        assert fakes.exited() is None
        assert fakes.child is not None
        pid = fakes.child.pid
    assert is_gone(pid)
    assert fakes.exited() is None, "it was stopped, it did not end by itself"
    records = read_records(fakes.ledger, Evidence)
    assert records.footer is not None
    assert records.footer.account["list_fetches"] == 2
    assert fakes.log == tmp_path / "fakes.log"
    assert not (tmp_path / "fakes.json").exists()


OF_ANTHROPIC = {
    "better-ccflare", "claude-code-router", "reference:agents", "respan-gateway", "rolter",
}  # fmt: skip


@pytest.mark.parametrize("name", [*builtin_targets(), "reference:agents"])
def test_the_third_server_is_started_only_for_targets_that_need_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a verification: as its starts ask for fakes, so they are started."""
    asked: dict[str, object] = {}
    monkeypatch.setattr(start_run, "start_fakes", lambda *_, **how: asked.update(how))
    run = SimpleNamespace(
        request=SimpleNamespace(target=load_target(name), fakes="", ports=FakePorts())
    )
    start_run._fakes(run, SimpleNamespace(token="abc"), tmp_path)  # type: ignore[arg-type]
    assert asked["anthropic"] is (name in OF_ANTHROPIC)


@pytest.mark.parametrize("anthropic", [False, True])
def test_the_third_server_is_a_port_and_its_modules(anthropic: bool, tmp_path: Path) -> None:
    with (
        start_fakes(tmp_path, "abc", anthropic=anthropic) as fakes,
        Control(fakes.control_url, token=fakes.control_token) as control,
    ):
        assert (control.health().anthropic or None) == fakes.anthropic_url
        assert ("anthropic" in control.now().lists) == anthropic
        assert ("anthropic_url" in fakes.urls) == anthropic
        if fakes.anthropic_url:
            headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
            assert http.get(f"{fakes.anthropic_url}/v1/models", headers=headers).status_code == 200


def test_the_values_of_a_third_provider_are_there_only_with_its_server(fakes: Fakes) -> None:
    served = dataclasses.replace(fakes, anthropic_url="http://127.0.0.1:3")
    values = placeholder_values(SETTINGS, served, 1, Path())
    assert (values["anthropic_url"], values["anthropic_key"]) == (
        "http://127.0.0.1:3",
        "rs-anthropic-key",
    )
    assert fakes.anthropic_url is None
    assert "anthropic_url" not in placeholder_values(SETTINGS, fakes, 1, Path())


def test_fakes_that_cannot_start_say_why(tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").write_text("an earlier run\n")
    with pytest.raises(HarnessError, match=r"before they listened(?s:.)*evidence\.jsonl"):
        start_fakes(tmp_path, "abc")


def test_a_stated_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HarnessError, match=f"Port {port} is already in use"):
            start_fakes(tmp_path, "abc", ports=FakePorts(control=port))


def test_the_fakes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from routerspec.processes.launch import start_fakes\n"
        "fakes = start_fakes(Path(sys.argv[1]), 'abc')\n"
        "print(fakes.child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        own_code.own_python("-c", script, str(tmp_path)),
        env=own_code.own_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert wait_for(lambda: is_gone(pid))
    assert read_records(tmp_path / "evidence.jsonl", Evidence).footer is not None


def test_a_router_gets_every_setting_and_is_stopped_with_the_block(
    tmp_path: Path, fakes: Fakes
) -> None:
    with start_router(
        target_of(SERVER.format(status=200)),
        SETTINGS,
        fakes,
        tmp_path,
        keys={"openai_key": "sk-7"},
        extra_env={"ROUTER_FLAW": "some"},
    ) as router:
        env = http.get(router.url).text
        assert "'CAP': '4'" in env
        assert "'KEY': 'sk-7'" in env
        assert "'ROUTER_FLAW': 'some'" in env
        assert router.exited() is None
        assert router.child is not None
        pid = router.child.pid
    port = router.url.rsplit(":", 1)[1]
    conf = (tmp_path / "router" / "etc" / "toy.conf").read_text()
    assert conf == f"server {{ listen {port}; }} {fakes.openai_url}"
    assert router.log.read_text() == f"serving on {port}\n"
    assert is_gone(pid)
    router.stop()
    assert router.exited() is None


def test_our_folders_are_not_put_before_a_strangers(tmp_path: Path, fakes: Fakes) -> None:
    with start_router(target_of(SERVER.format(status=200)), SETTINGS, fakes, tmp_path) as router:
        environment = http.get(router.url).text
    assert f"'PYTHONPATH': '{own_code.own_folders()[0]}" not in environment
    assert "127.0.0.1,localhost,::1" in environment


def test_no_cap_is_an_empty_text(tmp_path: Path, fakes: Fakes) -> None:
    values = placeholder_values(Settings(cap=None, models_ttl_s=0.5), fakes, 1, tmp_path)
    assert (values["cap"], values["models_ttl_s"], values["timeout_s"]) == ("", "0.5", "60")
    assert placeholder_values(SETTINGS, fakes, 1, tmp_path)["models_ttl_s"] == "2"


def test_any_answer_below_500_is_ready(tmp_path: Path, fakes: Fakes) -> None:
    with start_router(target_of(SERVER.format(status=404)), SETTINGS, fakes, tmp_path) as router:
        assert http.get(router.url).status_code == 404


def test_without_a_path_a_connection_is_ready(tmp_path: Path, fakes: Fakes) -> None:
    script = (
        "import socket, sys, time\n"
        "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "time.sleep(60)"
    )
    with start_router(target_of(script, ready=""), SETTINGS, fakes, tmp_path) as router:
        assert is_taken(int(router.url.rsplit(":", 1)[1]))


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        ("import time; print('booting', flush=True); time.sleep(60)", "had no answer"),
        ("print('booting', flush=True)" + SERVER.format(status=503), "answered with 503"),
        (
            "import socket, sys\nprint('booting', flush=True)\n"
            "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
            "while True:\n    peer, _ = server.accept(); peer.sendall(b'220 mail\\r\\n\\r\\n')\n"
            "    peer.close()",
            "had no answer",
        ),
        (
            "import socket, sys, time\nprint('booting', flush=True)\n"
            "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\ntime.sleep(60)",
            "had no answer",
        ),
    ],
    ids=["never-listens", "always-503", "talks-rubbish", "never-answers"],
)
def test_a_router_that_is_never_ready(tmp_path: Path, fakes: Fakes, script: str, seen: str) -> None:
    with pytest.raises(TargetNotReady) as caught:
        start_router(target_of(script, timeout_s=1.0), SETTINGS, fakes, tmp_path)
    message = str(caught.value)
    assert "toy did not become ready within 1 s" in message
    assert seen in message
    assert f"{tmp_path / 'router.log'}" in message
    assert "booting" in message


def test_a_router_that_ends_early_has_the_last_ten_lines(tmp_path: Path, fakes: Fakes) -> None:
    script = "import sys; print(*range(30), sep=chr(10)); sys.exit(3)"
    with pytest.raises(TargetNotReady) as caught:
        start_router(target_of(script), SETTINGS, fakes, tmp_path)
    message = str(caught.value)
    assert "toy exited with status 3 before it was ready" in message
    assert message.endswith("\n".join(str(number) for number in range(20, 30)))


def test_a_missing_command_is_reported_with_how_to_install_it(tmp_path: Path, fakes: Fakes) -> None:
    text = """
name = "absent"
install = "pip install absent"
[start]
command = ["no-such-router-anywhere"]
[routes]
openai = "{model}"
"""
    with pytest.raises(TargetNotReady, match="To install it: pip install absent"):
        start_router(read_target(text, "absent.toml"), SETTINGS, fakes, tmp_path)
    in_shell = text.replace('["no-such', '["sh", "-c", "exec no-such')
    (tmp_path / "second").mkdir()
    with pytest.raises(TargetNotReady, match=r"status 127 .*pip install absent"):
        start_router(read_target(in_shell, "absent.toml"), SETTINGS, fakes, tmp_path / "second")


def test_a_target_without_start_cannot_be_started(tmp_path: Path, fakes: Fakes) -> None:
    target = read_target('name = "x"\n[routes]\nopenai = "{model}"\n', "x.toml")
    with pytest.raises(UsageError, match=r"no \[start\]"):
        start_router(target, SETTINGS, fakes, tmp_path)


class Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[int]:
    """A foreign server; its port."""
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_stranger_on_the_port_is_refused_before_the_start(
    tmp_path: Path, fakes: Fakes, stranger: int
) -> None:
    with pytest.raises(TargetNotReady, match=f"Port {stranger} is already in use"):
        start_router(target_of(SERVER.format(status=200)), SETTINGS, fakes, tmp_path, port=stranger)
    assert not (tmp_path / "router.log").exists()


def test_a_strangers_answer_is_not_taken_for_our_routers(
    tmp_path: Path, fakes: Fakes, stranger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is taken between our check and the router's bind: the router exits."""
    snapshots = iter([False])
    monkeypatch.setattr(router_start, "is_taken", lambda port: next(snapshots, is_taken(port)))
    with pytest.raises(TargetNotReady, match="exited with status 1 before it was ready"):
        start_router(
            target_of(SERVER.format(status=200), ready=""),
            SETTINGS,
            fakes,
            tmp_path,
            port=stranger,
        )
    assert "Address already in use" in (tmp_path / "router.log").read_text()


def test_a_server_that_shares_its_port_with_a_stale_one_is_never_ready(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import socket, sys, time\n"
        "server = socket.socket()\n"
        "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "server.bind(('127.0.0.1', int(sys.argv[1]))); server.listen(); time.sleep(60)"
    )
    snapshots = iter([False])
    monkeypatch.setattr(router_start, "is_taken", lambda port: next(snapshots, is_taken(port)))
    with socket.socket() as stale:
        stale.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stale.bind(("127.0.0.1", 0))
        stale.listen()
        port = stale.getsockname()[1]
        with pytest.raises(TargetNotReady, match=f"process {os.getpid()}, which was there before"):
            start_router(
                target_of(script, ready="", timeout_s=1.5), SETTINGS, fakes, tmp_path, port=port
            )


def test_a_port_lost_to_somebody_quicker_is_tried_again(
    tmp_path: Path, fakes: Fakes, stranger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([stranger])
    snapshots = iter([False])
    monkeypatch.setattr(router_start, "free_port", lambda: next(ports, None) or free_port())
    monkeypatch.setattr(router_start, "is_taken", lambda port: next(snapshots, is_taken(port)))
    with start_router(target_of(SERVER.format(status=200)), SETTINGS, fakes, tmp_path) as router:
        assert not router.url.endswith(f":{stranger}")
        assert http.get(router.url).status_code == 200


def test_a_router_that_ends_by_itself_is_noticed(tmp_path: Path, fakes: Fakes) -> None:
    script = SERVER.format(status=200).replace(
        "def log_message", "def do_POST(self): os._exit(5)\n    def log_message"
    )
    with start_router(target_of(script), SETTINGS, fakes, tmp_path) as router:
        with pytest.raises(httpx.HTTPError):
            http.post(router.url)
        assert wait_for(lambda: router.exited() is not None)
        assert router.exited() == 5
    assert router.exited() == 5


def test_a_router_that_was_killed_has_the_signal_as_status(tmp_path: Path, fakes: Fakes) -> None:
    with start_router(target_of(SERVER.format(status=200)), SETTINGS, fakes, tmp_path) as router:
        assert router.child is not None
        os.kill(router.child.pid, signal.SIGKILL)
        assert wait_for(lambda: router.exited() == -signal.SIGKILL)


def test_stop_ends_the_deaf_and_the_children_of_a_shell(tmp_path: Path) -> None:
    log = tmp_path / "deaf.log"
    deaf = Child(
        ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 60; done"],
        env=os.environ,
        log=log,
    )
    assert wait_for(lambda: "deaf" in last_lines(log))
    assert deaf.stop(grace_s=0.2) == -signal.SIGKILL
    family = tmp_path / "family.log"
    shell = Child(["sh", "-c", "sleep 60 & echo $!; exit 0"], env=os.environ, log=family)
    assert wait_for(lambda: shell.ended() == 0)
    orphan = int(family.read_text())
    assert not is_gone(orphan)
    assert shell.stop() == 0
    assert wait_for(lambda: is_gone(orphan))
    assert shell.stop() == 0


def test_a_childs_output_can_be_read_as_it_comes(tmp_path: Path) -> None:
    log = tmp_path / "words.log"
    child = Child(
        ["sh", "-c", "echo one; echo two >&2; echo three"],
        env=os.environ,
        log=log,
        stdout_pipe=True,
    )
    assert list(child.lines()) == ["one", "three"]
    assert child.stop() == 0
    assert last_lines(log) == "two"
    assert last_lines(tmp_path / "none.log").startswith("(the log cannot be read")


def test_a_short_command_is_not_waited_for_without_end(tmp_path: Path) -> None:
    assert output_of(["sh", "-c", "echo a; echo b >&2"], os.environ, 10) == "a\nb\n"
    pid_file = tmp_path / "pid"
    assert output_of(["sh", "-c", f"echo $$ > {pid_file}; sleep 60"], os.environ, 0.5) is None
    assert is_gone(int(pid_file.read_text()))


PARENT = """
import sys, time
from pathlib import Path
from routerspec.processes.launch import start_fakes, start_router
from routerspec.records.load_plan import ControlAccess
from routerspec.records.run import Settings
from routerspec.targets import load_target
how, folder = sys.argv[1], Path(sys.argv[2])
fakes = start_fakes(folder, "abc")
router = start_router(load_target("reference"), Settings(cap=2, models_ttl_s=1.0), fakes, folder)
print(fakes.child.pid, router.child.pid, flush=True)
if how == "raise":
    raise RuntimeError("something else went wrong")
if how == "return":
    sys.exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("how", "number", "status"),
    [
        ("return", None, 0),
        ("raise", None, 1),
        ("wait", signal.SIGINT, -signal.SIGINT),
        ("wait", signal.SIGTERM, 128 + signal.SIGTERM),
        ("wait", signal.SIGHUP, 128 + signal.SIGHUP),
    ],
    ids=["exit", "exception", "SIGINT", "SIGTERM", "SIGHUP"],
)
def test_however_the_parent_ends_nothing_is_left(
    tmp_path: Path, how: str, number: signal.Signals | None, status: int
) -> None:
    """Not even without a ``with``."""
    with default_signals():
        parent = subprocess.Popen(
            own_code.own_python("-c", PARENT, how, str(tmp_path)),
            env=own_code.own_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        if number is not None:
            assert not any(is_gone(pid) for pid in pids)
            parent.send_signal(number)
        assert parent.wait(timeout=30) == status
    assert all(is_gone(pid) for pid in pids)
    assert read_records(tmp_path / "evidence.jsonl", Evidence).footer is not None


def test_attach_requires_an_answer(stranger: int) -> None:
    router = attach(f"http://127.0.0.1:{stranger}/")
    assert router.url == f"http://127.0.0.1:{stranger}"
    assert router.exited() is None
    router.stop()
    assert http.get(router.url).status_code == 200
    with pytest.raises(TargetNotReady, match="No router answers at"):
        attach(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://192.0.2.1:8080", "another machine"),
        ("http://example.org", "another machine"),
        ("http://127.0.0.1.example.org", "another machine"),
        ("127.0.0.1:8080", "write for example"),
        ("ftp://127.0.0.1", "write for example"),
        ("http://127.0.0.1:8080/v1", "write http://127.0.0.1:8080 alone"),
        ("http://127.0.0.1:port", "is not a URL"),
        ("https://127.0.0.1", "does not speak: use the router's plain HTTP port"),
        ("https://localhost:8443", "over TLS"),
    ],
)
def test_invalid_urls(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attach(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:PASSWORD@127.0.0.1:8080",
        "http://user:PASSWORD@192.0.2.1",
        "http://:PASSWORD@127.0.0.1",
        "https://user:PASSWORD@127.0.0.1/v1?key=1",
        "ftp://user:PASSWORD@127.0.0.1",
        "http://user:PASSWORD@127.0.0.1:port",
        "user:PASSWORD@127.0.0.1",
        "http://user:PASS@PASSWORD@[::1",
    ],
)
def test_a_url_with_a_password_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        checked_url(url)
    assert "PASSWORD" not in f"{refusal.value}"


def test_urls_of_this_machine_and_others_by_leave() -> None:
    for url in ("http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1"):
        assert checked_url(url + "/") == url
    assert checked_url("https://127.0.0.1:1", tls=True) == "https://127.0.0.1:1"
    assert checked_url("http://example.org", allow_remote=True) == "http://example.org"


def test_the_reference_router_runs(tmp_path: Path, fakes: Fakes) -> None:
    with start_router(load_target("reference"), SETTINGS, fakes, tmp_path) as router:
        listed = http.get(f"{router.url}/v1/models").json()
    names = [model["id"] for model in listed["data"]]
    assert "openai/fake-chat" in names
    assert "ollama/fake-chat:latest" in names


def test_the_load_process_reports_its_error(tmp_path: Path) -> None:
    plan, access = tmp_path / "plan.json", ControlAccess(url="http://127.0.0.1:9", token="")
    with start_load(tmp_path, plan, "http://127.0.0.1:9", 1, access) as load:
        lines = list(load.stdout)
        assert load.child is not None
        assert load.child.wait(30) not in {0, None}
    assert not any(line.startswith("round ") for line in lines)
    assert "plan.json" in last_lines(load.log)


@pytest.mark.skipif(
    not shutil.which("haproxy", path=own_code.child_environment()["PATH"]), reason="needs haproxy"
)
@pytest.mark.parametrize("cap", [4, None], ids=["capped", "uncapped"])
def test_haproxy_runs_with_and_without_a_cap(tmp_path: Path, fakes: Fakes, cap: int | None) -> None:
    settings = Settings(cap=cap, models_ttl_s=None)
    with start_router(load_target("haproxy"), settings, fakes, tmp_path) as router:
        listed = http.get(f"{router.url}/v1/models")
    assert "fake-chat" in listed.text
    assert listed.headers["cache-control"] == "max-age=2"


def test_a_child_is_stopped_by_several_at_once(tmp_path: Path) -> None:
    """As on Ctrl-C: the starter leaves its ``with`` while the interrupted thread stops all."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for _ in range(100):
            child = Child(["sleep", "60"], env=os.environ, log=tmp_path / "log")
            together = threading.Barrier(8)

            def stop(child: Child = child, together: threading.Barrier = together) -> int:
                together.wait()
                return child.stop()

            stopping = [pool.submit(stop) for _ in range(8)]
            assert {future.result() for future in stopping} == {-signal.SIGTERM}
            assert child.ended() == -signal.SIGTERM


def test_where_one_server_is_measured_it_stands_in_for_all_instances() -> None:
    urls = {"openai_url": "http://o", "openai_urls": "http://o", "ollama_url": "http://l"}
    assert router_start._stand_ins({"openai": 3, "ollama": 1}, urls) == {
        "openai_url_2": "http://o",
        "openai_url_3": "http://o",
        "openai_urls": "http://o,http://o,http://o",
    }
    assert not router_start._stand_ins({"openai": 2}, urls | {"openai_url_2": "http://p"})
