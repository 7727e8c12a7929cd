"""The pytest plugin in a user's suite: installed from the wheel, in a fresh environment.

Their repo has folders of our names, which break whoever imports them, and is on PYTHONPATH first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.routers import other
from tests.support import wheel as built_wheel

THEIR_SETTINGS = """
[pytest]
filterwarnings = error
addopts = --strict-markers --strict-config -p no:langsmith_plugin -p no:schemathesis
asyncio_default_fixture_loop_scope = function
"""

THEIR_TESTS = """
import sys

import pytest

ROUTES = {"openai": "{model}"}
ROUTER = [sys.executable, "router.py", "{port}", "{cap}", "{openai_url}", "{ollama_url}"]
FLAWED = [sys.executable, "router.py", "{port}", "500", "{openai_url}", "{ollama_url}"]


def test_my_cap_is_5_and_it_holds(routerspec_verify):
    routerspec_verify(command=ROUTER, routes=ROUTES, cap=5, only="cap/each-route,cap/streams")


@pytest.mark.routerspec(cap=5, routes=ROUTES, only="cap/each-route,cap/streams")
def test_my_cap_is_not_really_5(routerspec_verify):
    routerspec_verify(command=FLAWED)
"""

WITH_A_ROUTER_OF_THEIR_OWN = """
import http.client, json, socket, subprocess, sys, threading, time

import pytest

ROUTES = {"openai": "{model}"}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def my_router(routerspec_fakes):
    port = free_port()
    urls = [routerspec_fakes.openai_url, routerspec_fakes.ollama_url]
    process = subprocess.Popen([sys.executable, "router.py", str(port), "2", *urls])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def ask(url, answers):
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = {"model": "fake-chat", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Content-Type": "application/json", "Connection": "close"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answers.append(connection.getresponse().status)


def test_held_calls_are_released(my_router, routerspec_fakes):
    answers, before = [], len(routerspec_fakes.ledger())
    routerspec_fakes.hold()
    clients = [threading.Thread(target=ask, args=(my_router, answers)) for _ in range(3)]
    for client in clients:
        client.start()
    assert routerspec_fakes.wait_until_held(2) == 2
    assert routerspec_fakes.wait_until_held(3, within_s=0.3) == 2  # the cap
    assert not answers
    assert routerspec_fakes.release() == 2
    for client in clients:
        client.join()
    assert answers == [200, 200, 200]
    assert routerspec_fakes.held() == 0
    time.sleep(0.1)
    calls = routerspec_fakes.ledger()[before:]
    assert [call["kind"] for call in calls] == ["call"] * 3


def test_a_router_that_runs_already_is_verified(my_router, routerspec_verify):
    verified = routerspec_verify(my_router, routes=ROUTES, cap=2, only="cap/each-route")
    assert verified.outcomes == {"cap/each-route": "held"}
    assert verified.run.is_dir()


def test_its_cap_is_not_1(my_router, routerspec_verify):
    routerspec_verify(my_router, routes=ROUTES, cap=1, only="cap/each-route")


def ask_anthropic(url, answers):
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = {
        "model": "fake-chat", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]
    }
    headers = {
        "Content-Type": "application/json", "Connection": "close",
        "x-api-key": "k", "anthropic-version": "2023-06-01",
    }
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answers.append(connection.getresponse().status)


def test_calls_of_one_provider_are_held_by_themselves(my_router, routerspec_fakes):
    answers, others = [], []
    routerspec_fakes.hold(provider="anthropic")
    client = threading.Thread(target=ask_anthropic, args=(routerspec_fakes.anthropic_url, answers))
    client.start()
    assert routerspec_fakes.wait_until_held(1) == 1
    ask(my_router, others)
    assert (answers, others) == ([], [200])
    assert routerspec_fakes.release() == 1
    client.join()
    assert answers == [200]


def test_the_fakes_are_as_they_were(my_router, routerspec_fakes):
    answers = []
    ask(my_router, answers)
    assert answers == [200]
"""

OTHERS = """
import anyio
import pytest


@pytest.mark.anyio
async def test_of_anyio():
    await anyio.sleep(0)


@pytest.mark.asyncio
async def test_of_pytest_asyncio(routerspec_fakes):
    assert routerspec_fakes.held() == 0
"""

OF_LOCUST = """
import pytest


@pytest.mark.filterwarnings("ignore::gevent.monkey.MonkeyPatchWarning")
def test_of_locust(session, routerspec_fakes):
    assert session.base_url == "http://127.0.0.1:9"
    assert routerspec_fakes.held() == 0
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Their repo."""
    repo = built_wheel.users_repo(tmp_path / "repo")
    shutil.copy(other.__file__, repo / "router.py")
    (repo / "pytest.ini").write_text(THEIR_SETTINGS)
    return repo


def their_pytest(
    python: Path, repo: Path, *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, output) of their own pytest run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        (str(python), "-m", "pytest", *arguments),
        cwd=repo,
        env=ours | (env or {}) | {"PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_five_lines_pass_for_a_sound_router_and_fail_with_the_witness_for_a_flawed_one(
    python: Path, repo: Path
) -> None:
    (repo / "test_theirs.py").write_text(THEIR_TESTS)
    status, output = their_pytest(python, repo, "test_theirs.py", "-n", "2", "-v")
    print(output)
    assert status == 1
    assert re.search(r"PASSED.*test_my_cap_is_5_and_it_holds", output)
    assert re.search(r"FAILED.*test_my_cap_is_not_really_5", output)
    assert "1 failed, 1 passed" in output
    assert "routerspec: the router violates a promise." in output
    assert re.search(r"The cap is 5, and \d+ calls were held open at once", output)
    assert "Traceback" not in output
    runs = list((repo / ".routerspec" / "runs").glob("*/run.json"))
    assert len(runs) == 2
    assert (repo / ".routerspec" / ".gitignore").read_text() == "*\n"


def test_a_router_of_their_own_fixture_in_front_of_our_fakes(python: Path, repo: Path) -> None:
    (repo / "test_theirs.py").write_text(WITH_A_ROUTER_OF_THEIR_OWN)
    status, output = their_pytest(python, repo, "test_theirs.py", "-v", "--routerspec-seed", "7")
    print(output)
    assert status == 1
    assert "1 failed, 4 passed" in output
    assert re.search(r"FAILED.*test_its_cap_is_not_1", output)
    assert "The cap is 1, and 2 calls were held open at once" in output


@pytest.mark.parametrize(
    "arguments",
    [pytest.param((), marks=pytest.mark.slow), ("-n", "2")],
    ids=["alone", "xdist"],
)
def test_it_stands_beside_other_plugins(
    python: Path, repo: Path, arguments: tuple[str, ...]
) -> None:
    (repo / "test_others.py").write_text(OTHERS)
    status, output = their_pytest(python, repo, *arguments, "--host", "http://127.0.0.1:9")
    print(output)
    assert status == 0
    (plugins,) = {line for line in output.splitlines() if line.startswith("plugins: ")}
    for name in ("routerspec", "locust", "anyio", "asyncio", "xdist"):
        assert f"{name}-" in plugins


def test_its_fixtures_work_beside_those_of_locust(python: Path, repo: Path) -> None:
    """They have gevent patch the whole process, which other plugins do not survive."""
    (repo / "test_locust.py").write_text(OF_LOCUST)
    arguments = ("-p", "pytest_locust.plugin", "-p", "routerspec.pytest_plugin")
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    (repo / "pytest.ini").unlink()
    status, output = their_pytest(python, repo, *arguments, "--host", "http://127.0.0.1:9", env=env)
    print(output)
    assert status == 0


def test_invalid_arguments_are_reported_plainly(python: Path, repo: Path) -> None:
    (repo / "test_wrong.py").write_text(
        "def test_none(routerspec_verify):\n    routerspec_verify(cap=5)\n\n"
        "def test_word(routerspec_verify):\n"
        "    routerspec_verify(target='reference', only='nothing')\n\n"
        "def test_dead(routerspec_verify):\n"
        "    routerspec_verify(command=['no-such-router'], cap=5)\n"
    )
    status, output = their_pytest(python, repo)
    assert status == 1
    assert "routerspec_verify takes exactly one of url, command and target" in output
    assert "No check is called 'nothing'" in output
    assert "no-such-router" in output
    assert "3 failed" in output


IMPORTED = """
import sys, pytest
before = set(sys.modules)
import routerspec.pytest_plugin
new = set(sys.modules) - before
print(*sorted(name for name in new if name.partition(".")[0] not in sys.stdlib_module_names))
"""


def test_nothing_is_imported_until_it_is_used(python: Path, tmp_path: Path) -> None:
    output = built_wheel.run(str(python), "-P", "-c", IMPORTED, cwd=tmp_path)
    assert output.split() == ["routerspec", "routerspec.pytest_plugin"]


USED = """
import sys, pytest
before = set(sys.modules)
import routerspec.testing.fakes, routerspec.testing.verification
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - sys.stdlib_module_names))
"""


def test_then_nothing_but_the_standard_library(python: Path, tmp_path: Path) -> None:
    assert built_wheel.run(str(python), "-P", "-c", USED, cwd=tmp_path).split() == ["routerspec"]


def test_the_plugin_comes_with_the_wheel(python: Path, repo: Path) -> None:
    status, output = their_pytest(python, repo, "--fixtures", "--markers", "-q")
    assert status == 0
    assert "@pytest.mark.routerspec(**arguments)" in output
    options = built_wheel.run(str(python), "-m", "pytest", "--help", cwd=repo)
    group = options.partition("black-box tests of LLM routers")[2].partition("\n\n")[0]
    assert group.count("--") == group.count("--routerspec-") == 3


def test_it_is_ours_that_runs(python: Path) -> None:
    where = "import routerspec; print(routerspec.__file__)"
    output = built_wheel.run(str(python), "-P", "-c", where, cwd=python.parent)
    assert output.startswith(str(python.parents[1]))
    assert sys.prefix not in output
