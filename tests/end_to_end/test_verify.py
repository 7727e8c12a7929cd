"""The main job end to end: real processes, real sockets, the command line as a user types it.

Direction of every expectation here: outcomes and exit codes, never how long anything took.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from reference_router.flaws import FLAWS
from routerspec import report
from routerspec.checks import REGISTRY, replicas
from routerspec.processes.own_code import own_environment
from routerspec.processes.ports import free_port, is_taken
from tests.support.cli import Ran, ran, routerspec
from tests.support.lab import lab
from tests.support.processes import descendants, is_zombie
from tests.support.signals import default_signals, ignored_signals


def the_run(folder: Path) -> Path:
    """The one run under ``folder``."""
    (run,) = (folder / ".routerspec" / "runs").iterdir()
    return run


ORIGINS = (
    "provider-outside-cap",
    "permit-freed-at-head",
    "models-no-lock",
    "models-request-semaphore",
    "one-at-a-time",
)
"""The original bugs, and one router that is too careful. `routerspec prove` plays every flaw."""


NOT_PROMISED = {
    "cap/attempts",  # it tries nothing again
    *(check.id for check in replicas.CHECKS),  # one process
    "cap/count-tokens",  # no front of Anthropic
    "cache/answers",  # it caches none
    "request/retry",  # nor does it try these again
    "overload/answer",  # a queue without a bound or a timeout
    "overload/retry-after",
    "overload/json-error",
    "limits/never-more",  # it has no limits of requests or tokens
    "limits/window",
    "limits/retry-after",
    "limits/refused-is-free",
    "limits/failed-count",
    *(id_ for id_ in REGISTRY if id_.startswith("failover/")),  # one instance of each provider
    *(id_ for id_ in REGISTRY if id_.startswith(("balance/", "breaker/"))),  # and no breaker
    "drain/whole",  # nothing about signals, nor about silent providers
    "drain/refuses",
    "drain/exit",
    "drain/permits",
    "reload/serves",
    "reload/whole",
    "reload/one-cap",
    "silence/keep-alive",
    "silence/long-stream",
    "silence/gives-up",
}
"""Checks that do not apply to the default reference router; they apply to its variants."""


@pytest.mark.slow  # .ci/run does it by itself
def test_the_sound_router_holds_every_promise(tmp_path: Path) -> None:
    got = routerspec("verify", "--format", "json", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    open_ = {id_ for id_, outcome in got.outcomes.items() if outcome != "held"}
    assert open_ == NOT_PROMISED
    assert {got.outcomes[id_] for id_ in open_} == {"not applicable"}
    again = routerspec("judge", str(the_run(tmp_path)), "--format", "json", cwd=tmp_path)
    assert (again.status, again.out) == (0, got.out)
    assert (tmp_path / ".routerspec" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    "name", [n if n in ORIGINS else pytest.param(n, marks=pytest.mark.slow) for n in FLAWS]
)
def test_each_flaw_trips_its_checks(name: str, tmp_path: Path) -> None:
    trips, variant = FLAWS[name].trips, FLAWS[name].variant
    target = f"reference:{variant}" if variant else "reference"
    options = ("--flaw", name, "--only", ",".join(trips), "--format", "json", "--strict")
    got = routerspec("verify", target, *options, cwd=tmp_path)
    assert got.status == 1, got.out + got.err
    checks = {check["id"]: check for check in got.verdict["checks"]}
    for trip in trips:
        assert checks[trip]["outcome"] == "violated", got.out
        assert checks[trip]["witness"]["facts"]


def test_tool_calls_occupy_slots_on_the_fronts_of_agents(tmp_path: Path) -> None:
    got = routerspec("verify", "reference:agents", "--only", "cap/streams", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    assert "1 held" in got.out


def test_quick_is_the_sharpest_few(tmp_path: Path) -> None:
    got = routerspec("verify", "--quick", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    for name in ("cap/each-route", "cap/streams", "models/one-fetch-uncapped"):
        assert name in got.out
    assert "cap/burst" not in got.out


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("haproxy", path=own_environment()["PATH"]), reason="no haproxy"
)
def test_haproxy_keeps_its_cap_on_every_route(tmp_path: Path) -> None:
    got = routerspec("verify", "haproxy", "--format", "json", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    outcomes = got.outcomes
    for name in ("cap/each-route", "cap/streams", "cap/burst", "cap/under-load", "slots/reached"):
        assert outcomes[name] == "held", got.out
    numbers = {c["id"]: c["numbers"] for c in got.verdict["checks"]}["cap/each-route"]
    assert {f"openai:{m}" for m in ("chat", "stream", "embeddings", "completions")} <= set(numbers)
    assert outcomes["models/cached"] == "not applicable"


def write_target(folder: Path, command: Sequence[str], **more: Any) -> str:
    """A target file for a router of the test's own, and the word for it."""
    ready_timeout_s = more.get("ready_timeout_s", 30)
    ready = f'ready = "{more["ready"]}"\n' if "ready" in more else ""
    text = (
        'name = "stranger"\ninstall = "dig it up"\n'
        f"[start]\ncommand = {json.dumps(list(command))}\nready_timeout_s = {ready_timeout_s}\n"
        f"{ready}[routes]\nopenai = 'openai/{{model}}'\n[promises]\ncap = {{ limit = 2 }}\n"
    )
    (folder / "stranger.toml").write_text(text)
    return "./stranger.toml"


def test_a_router_that_is_not_installed(tmp_path: Path) -> None:
    word = write_target(tmp_path, ["no-such-router-anywhere"])
    got = routerspec("verify", word, "--only", "cap/streams", cwd=tmp_path)
    assert got.status == 4
    assert "dig it up" in got.err


def test_a_router_that_ends_at_once(tmp_path: Path) -> None:
    word = write_target(tmp_path, [sys.executable, "-c", "print('my config is bad'); exit(3)"])
    got = routerspec("verify", word, "--only", "cap/streams", cwd=tmp_path)
    assert got.status == 4
    assert "my config is bad" in got.err
    assert "status 3" in got.err


def test_a_router_that_never_listens(tmp_path: Path) -> None:
    code = "import time; print('dreaming', flush=True); time.sleep(60)"
    word = write_target(tmp_path, [sys.executable, "-c", code], ready_timeout_s=1)
    got = routerspec("verify", word, "--only", "cap/streams", cwd=tmp_path)
    assert got.status == 4
    assert "dreaming" in got.err


def test_a_router_that_will_not_start_without_a_cap_is_not_to_blame(tmp_path: Path) -> None:
    code = "import os, sys; cap, port = sys.argv[1:]; int(cap)\n"
    code += "from reference_router.__main__ import main\n"
    code += "os.environ['ROUTER_MAX_CONCURRENCY'] = cap\n"
    code += "sys.exit(main(['--port', port]))"
    reference = (Path(report.__file__).parent.parent / "targets" / "reference.toml").read_text()
    command = json.dumps([sys.executable, "-c", code, "{cap}", "{port}"])
    old = 'command = ["python", "-m", "reference_router", "--port", "{port}"]'
    assert old in reference
    (tmp_path / "strict.toml").write_text(reference.replace(old, f"command = {command}"))
    got = routerspec(
        "verify", "./strict.toml", "--only", "models/one-fetch", "--format", "json", cwd=tmp_path
    )
    assert got.status == 0, got.out + got.err
    assert got.outcomes == {
        "models/one-fetch-cold": "held",
        "models/one-fetch-on-expiry": "held",
        "models/one-fetch-uncapped": "not applicable",
        "models/one-fetch-cluster": "not applicable",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("let_in", "outcome", "status"),
    [(3, "held", 0), (4, "violated", 1)],
)
def test_a_router_that_refuses_what_is_beyond_its_cap(
    let_in: int, outcome: str, status: int, tmp_path: Path
) -> None:
    """On another stack than ours, and with refusals in place of a queue."""
    script = Path(__file__).parents[1] / "routers" / "rejecting.py"
    command = [sys.executable, str(script), "{port}", str(let_in), "{openai_url}"]
    (tmp_path / "rejecting.toml").write_text(
        f'name = "rejecting"\n[start]\ncommand = {json.dumps(command)}\n'
        '[routes.openai]\nmodel = "{model}"\nmodes = ["chat", "stream", "embeddings"]\n'
        '[promises]\nkeys = "passthrough"\ncap = { limit = 3, overload = "reject" }\n'
    )
    got = routerspec("verify", "./rejecting.toml", "--format", "json", cwd=tmp_path)
    assert got.status == status, got.out + got.err
    outcomes = got.outcomes
    for name in ("cap/each-route", "cap/streams", "cap/burst", "cap/under-load"):
        assert outcomes[name] == outcome, got.out
    for name in ("slots/reached", "answers/own", "answers/whole"):
        assert outcomes[name] == "held", got.out


def test_an_untestable_check_is_not_applicable_and_nothing_held_is_not_green(
    tmp_path: Path,
) -> None:
    reference = (Path(report.__file__).parent.parent / "targets" / "reference.toml").read_text()
    assert "ttl_s = 1.0" in reference
    (tmp_path / "long.toml").write_text(reference.replace("ttl_s = 1.0", "ttl_s = 30.0"))
    got = routerspec(
        "verify", "./long.toml", "--only", "models/ttl-from", "--format", "json", cwd=tmp_path
    )
    assert got.status == 3
    (check,) = got.verdict["checks"]
    assert check["outcome"] == "not applicable"
    assert "24 s" in check["reason"]


RUBBISH = """
import http.server, sys
class Rubbish(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.answer()
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.answer()
    def answer(self):
        self.send_response(200)
        self.send_header('content-length', '7')
        self.end_headers()
        self.wfile.write(b'rubbish')
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Rubbish).serve_forever()
"""


@pytest.mark.slow
def test_a_router_that_answers_rubbish_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "rubbish.py").write_text(RUBBISH)
    word = write_target(tmp_path, [sys.executable, str(tmp_path / "rubbish.py"), "{port}"])
    got = routerspec("verify", word, "--only", "cap", "--format", "json", cwd=tmp_path)
    assert got.status == 4, got.out + got.err
    assert set(got.outcomes.values()) - {"not applicable"} == {"not judged"}
    assert got.outcomes["cap/each-route"] == "not judged"


MUTE = """
import socket, sys, time
server = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=512)
kept = []
while True:
    kept.append(server.accept())
"""


def test_a_router_that_never_answers_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text(MUTE)
    word = write_target(tmp_path, [sys.executable, str(tmp_path / "mute.py"), "{port}"])
    got = routerspec("verify", word, "--only", "cap/streams", "--format", "json", cwd=tmp_path)
    assert got.status == 4, got.out + got.err
    assert got.outcomes == {"cap/streams": "not judged"}


DYING = """
import os, sys
from reference_router import front
from reference_router.__main__ import main

serve, served = front.Front.serve, []

async def dying(self, job, send):
    served.append(job)
    if len(served) > 100:  # smoke has had its answers, the load has only begun
        os._exit(9)
    await serve(self, job, send)

front.Front.serve = dying
sys.argv = ["reference_router", "--port", sys.argv[1]]
sys.exit(main())
"""


def test_a_router_that_dies_half_way_is_inconclusive_and_its_history_kept(tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    reference = (Path(report.__file__).parent.parent / "targets" / "reference.toml").read_text()
    command = json.dumps([sys.executable, str(tmp_path / "dying.py"), "{port}"])
    old = 'command = ["python", "-m", "reference_router", "--port", "{port}"]'
    assert old in reference
    (tmp_path / "dying.toml").write_text(reference.replace(old, f"command = {command}"))
    got = routerspec(
        "verify", "./dying.toml", "--only", "cap/under-load", "--format", "json", cwd=tmp_path
    )
    assert got.status == 3, got.out + got.err
    # What was stopped half-way is not done, so it is played again on a fresh start.
    assert re.search(
        r"load: given up \(the router exited with status 9\): load$", got.err, re.MULTILINE
    )
    (check,) = got.verdict["checks"]
    assert check["outcome"] == "inconclusive"
    assert "status 9" in check["reason"]
    lines = (the_run(tmp_path) / "starts" / "load" / "evidence.jsonl").read_text().splitlines()
    assert '"kind":"footer"' in lines[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "signals"),
    [
        pytest.param(signal.SIGINT, default_signals, id="2"),
        pytest.param(signal.SIGTERM, default_signals, id="15"),
        pytest.param(signal.SIGTERM, ignored_signals, id="15-under-nohup"),
    ],
)
def test_an_interrupt_leaves_no_process_behind(
    number: int, signals: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    with signals():
        running = subprocess.Popen(
            [sys.executable, "-P", "-m", "routerspec", "verify", "--only", "cap/each-route"],
            cwd=tmp_path, env=own_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    with running:
        assert running.stderr is not None
        for line in running.stderr:
            if "hold-head" in line:
                break
        children = descendants(running.pid)
        assert len(children) >= 3
        os.kill(running.pid, number)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "interrupted" in err
    alive = {pid for pid in children if Path(f"/proc/{pid}").exists() and not is_zombie(pid)}
    assert not alive
    assert (the_run(tmp_path) / "run.json").exists()


@contextmanager
def router_of_my_own(cap: int, openai_port: int, ollama_port: int) -> Iterator[str]:
    """A reference router started by hand, in front of fakes that are not there yet."""
    port = free_port()
    env = own_environment() | {
        "ROUTER_MAX_CONCURRENCY": str(cap),
        "ROUTER_MODELS_CACHE_TTL_S": "1",
        "ROUTER_OPENAI_URL": f"http://127.0.0.1:{openai_port}",
        "ROUTER_OLLAMA_URL": f"http://127.0.0.1:{ollama_port}",
    }
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    with subprocess.Popen(command, env=env) as process:
        try:
            while not is_taken(port):
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.parametrize(("cap", "outcome", "status"), [(4, "held", 0), (5, "violated", 1)])
def test_a_router_that_runs_already(cap: int, outcome: str, status: int, tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    with router_of_my_own(cap, ports[0], ports[1]) as url:
        got = routerspec(
            "verify", "--url", url, "--cap", "4", "--models-ttl", "1", "--format", "json",
            "--ports", ",".join(map(str, ports)), "--only", "cap/each-route,models/one-fetch",
            cwd=tmp_path,
        )  # fmt: skip
    assert got.status == status, got.out + got.err
    assert got.outcomes == {
        "cap/each-route": outcome,
        "models/one-fetch-cold": "not applicable",
        "models/one-fetch-on-expiry": "held",
        "models/one-fetch-uncapped": "not applicable",
        "models/one-fetch-cluster": "not applicable",
    }


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        with router_of_my_own(4, taken, taken) as url:
            got = routerspec(
                "verify", "--url", url, "--cap", "4", "--ports", f"{taken},0,0", cwd=tmp_path
            )
    assert got.status == 4
    assert f"Port {taken} is already in use" in got.err


def test_no_server_at_the_url(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    got = routerspec("verify", "--url", url, "--cap", "4", "--ports", "0,0,0", cwd=tmp_path)
    assert got.status == 4
    assert "No router answers" in got.err


def plain_locust(printed: dict[str, str], folder: Path, seconds: int, more: str = "") -> Ran:
    """The headless line that the lab printed, shorter."""
    line = printed["headless"].replace("-t 20s", f"-t {seconds}s {more}")
    return ran(line.split(), folder)


@pytest.mark.slow
def test_plain_locust_finds_nothing_on_a_sound_router(tmp_path: Path) -> None:
    with lab(tmp_path) as printed:
        for _ in range(2):
            got = plain_locust(printed, tmp_path, 6)
            assert got.status == 0, got.out + got.err
            assert "models/one-fetch-on-expiry" in got.out
            time.sleep(0.1)
    assert len(list((tmp_path / ".routerspec" / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("flaw", "check"),
    [
        ("provider-outside-cap", "cap/under-load"),
        pytest.param("models-no-lock", "models/one-fetch-on-expiry", marks=pytest.mark.slow),
    ],
)
def test_plain_locust_raises_its_exit_code(flaw: str, check: str, tmp_path: Path) -> None:
    with lab(tmp_path, "--flaw", flaw) as printed:
        got = plain_locust(printed, tmp_path, 6, "--html page.html --json-file stats")
    assert got.status == 1, got.out + got.err
    ours = (tmp_path / "page.html").read_text().partition('id="routerspec"')[2]
    assert f"<td>{check}</td><td>violated</td>" in ours
    assert json.loads((tmp_path / "stats.json").read_text()), "Locust's own statistics are kept"
    line = next(line for line in got.out.splitlines() if line.startswith(check))
    assert "violated" in line


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("", "--rs-cap"),
        ("--rs-cap 4 --rs-fakes http://127.0.0.1:9", "fakes do not answer"),
        ("--rs-target nonsense", "no target"),
        ("--rs-cap 4 --host http://192.0.2.1", "Use --rs-allow-remote"),
    ],
)
def test_plain_locust_that_cannot_judge_names_the_missing_option(
    options: str, error: str, tmp_path: Path
) -> None:
    usual = f"--headless --host http://127.0.0.1:9 -u 1 -t 5s --rs-runs {tmp_path} {options}"
    locustfile = ["-f", "loadtests/locustfile.py"]
    done = ran(
        [sys.executable, "-P", "-m", "locust", *locustfile, *usual.split()],
        Path(__file__).parents[2],
    )
    assert done.status in {2, 4}
    assert error in done.err


def test_plain_locust_that_stops_before_its_load_began_does_not_exit_with_0(
    tmp_path: Path,
) -> None:
    """The fakes accept the connection and never answer, until the run time is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fakes = f"http://127.0.0.1:{silent.getsockname()[1]}"
        usual = f"--headless --host {fakes} -u 1 -t 1s --rs-runs {tmp_path} --rs-cap 4"
        locustfile = ["-f", "loadtests/locustfile.py", "--rs-fakes", fakes]
        done = ran(
            [sys.executable, "-P", "-m", "locust", *locustfile, *usual.split()],
            Path(__file__).parents[2],
        )
    assert done.status == 4, done.err
    assert "stopped before the load began: not judged" in done.err


@pytest.mark.slow
def test_plain_locust_without_a_server_is_not_judged(tmp_path: Path) -> None:
    with lab(tmp_path) as printed:
        elsewhere = printed | {"headless": printed["headless"].replace(printed["router"], nobody())}
        done = plain_locust(elsewhere, tmp_path, 6)
    assert done.status == 4
    assert "smoke failed" in done.err


def nobody() -> str:
    """The URL of a port without a listener."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("verify", "--only", "cap/eech-route"), "cap/eech-route"),
        (("verify", "--flaw", "nonsense"), "provider-outside-cap"),
        (("verify", "haproxy", "--flaw", "one-at-a-time"), "reference router"),
        (("verify", "no-such-target"), "reference"),
        (("verify", "--cap", "3"), "--url"),
        (("verify", *2 * ("--url", "http://127.0.0.1:1")), "given twice"),
        (("verify", "--quick", "--only", "cap"), "--only"),
        (("verify", "--soak", "soon"), "10m"),
        (("judge", "nowhere"), "run.json"),
        (("explain", "cap/stream"), "cap/streams"),
    ],
)
def test_a_wrong_word_is_exit_2_with_the_way_out(
    arguments: tuple[str, ...], error: str, tmp_path: Path
) -> None:
    got = routerspec(*arguments, cwd=tmp_path)
    assert got.status == 2
    assert error in got.err
    assert got.err.count("\n") == 1
    assert not (tmp_path / ".routerspec").exists()


def test_smoke_reports_success_or_each_fault(tmp_path: Path) -> None:
    got = routerspec("smoke", "reference", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    assert "smoke passed. Next: routerspec verify reference" in " ".join(got.out.split())
    word = write_target(tmp_path, [sys.executable, "-m", "http.server", "{port}"])
    got = routerspec("smoke", word, cwd=tmp_path)
    assert got.status == 4
    assert "smoke failed" in got.out
    assert "The router's log ends with: The end of " in got.out
    assert "POST /v1/responses" in got.out


def test_the_spec_is_listed_and_explained(tmp_path: Path) -> None:
    listed = routerspec("list", cwd=tmp_path)
    assert listed.status == 0
    assert "cap/under-load" in listed.out
    explained = routerspec("explain", "cap/streams", cwd=tmp_path)
    assert explained.status == 0
    assert "vllm-project/router" in explained.out
