"""Each command line of the README, typed as it stands, has the documented effect. Slow.

What is not typed as it stands: ports that may be taken are free ones, and what takes minutes has
fewer checks or tests. ``bench``, ``prove``, ``publish`` and ``lab`` have tests of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from routerspec.processes.ports import free_port
from tests.docs.test_readmes import README, ROOT, blocks, command_lines

pytestmark = pytest.mark.slow
LINES = command_lines(Path("README.md"))
FEW = " --only cap/streams"
MY_ROUTER = """#!{python} -P
import os, sys
from pathlib import Path
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
config = dict(line.split(": ") for line in Path(words["--config"]).read_text().splitlines())
os.environ |= {{
    "ROUTER_MAX_CONCURRENCY": config["max_concurrency"],
    "ROUTER_MODELS_CACHE_TTL_S": config["models_cache_ttl"],
    "ROUTER_OPENAI_URL": config["openai"].removesuffix("/v1"),
    "ROUTER_OLLAMA_URL": config["ollama"],
    "ROUTER_OPENAI_KEY": os.environ["OPENAI_API_KEY"],
}}
command = [sys.executable, "-P", "-m", "reference_router", "--port", words["--port"]]
os.execv(sys.executable, command)
"""


def only_line(*parts: str) -> str:
    (line,) = [line for line in LINES if all(word in line for word in parts)]
    return line


def path_with(folder: Path) -> dict[str, str]:
    places = (str(folder), str(Path(sys.executable).parent), os.environ["PATH"])
    return os.environ | {"PATH": os.pathsep.join(places)}


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("bash", "-c", line),
        cwd=folder,
        env=path_with(folder),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@contextmanager
def up(url: str, command: list[str], folder: Path, **env: str) -> Iterator[None]:
    """A process until it is no longer needed; its URL answers before the block begins."""
    child = subprocess.Popen(command, cwd=folder, env=path_with(folder) | env)
    try:
        patience = monotonic() + 30
        while monotonic() < patience:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert child.poll() is None, command
                sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait(30)


def test_every_line_is_typed_here() -> None:
    programs = [line.split()[0] for line in LINES]
    assert sorted(programs) == ["locust", "python", *["python3"] * 2, *["routerspec"] * 3]


@pytest.mark.parametrize("command", ["routerspec smoke", "routerspec verify ./"])
def test_the_target_of_the_readme_starts_a_router_and_is_judged(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "my-router.toml").write_text(blocks("toml")[0])
    router = tmp_path / "my-router"
    router.write_text(MY_ROUTER.format(python=sys.executable))
    router.chmod(0o755)
    line = only_line(command)
    done = typed(line if "smoke" in line else line + FEW, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke passed" in done.stdout or re.search(r"cap/streams +held", done.stdout)


@contextmanager
def router_on(port: int, openai: int, ollama: int, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    env = {
        "ROUTER_MAX_CONCURRENCY": "4",
        "ROUTER_MODELS_CACHE_TTL_S": "30",
        "ROUTER_OPENAI_URL": f"http://127.0.0.1:{openai}",
        "ROUTER_OLLAMA_URL": f"http://127.0.0.1:{ollama}",
    }
    with up(f"http://127.0.0.1:{port}/health", command, folder, **env):
        yield


def test_a_router_that_runs_already_is_reached(tmp_path: Path) -> None:
    port, openai, ollama, control = (free_port() for _ in range(4))
    line = only_line("--url").replace("8080", str(port))
    with router_on(port, openai, ollama, tmp_path):
        done = typed(f"{line} --ports {openai},{ollama},{control}{FEW}", tmp_path)
        began = typed(
            f"routerspec init --url http://127.0.0.1:{port} --ports {openai},{ollama},{control}",
            tmp_path,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"cap/streams +held", done.stdout)
    assert began.returncode == 0, began.stdout + began.stderr
    assert list(tmp_path.glob("*.toml"))


def test_the_load_test_by_hand(tmp_path: Path) -> None:
    port, openai, ollama, control = (free_port() for _ in range(4))
    (tmp_path / "loadtests").symlink_to(ROOT / "loadtests")
    new = {"8080": port, "8001": openai, "11434": ollama, "8002": control}

    def here(line: str) -> str:
        return re.sub(r"\b(8080|8001|11434|8002)\b", lambda found: str(new[found[0]]), line)

    secret = "a-token-of-mine"
    fakes = here(only_line("fake_providers")) + f" --control-token {secret}"
    locust = f"ROUTERSPEC_FAKES_TOKEN={secret} {here(only_line('locust'))}"
    with (
        up(f"http://127.0.0.1:{control}/docs", ["bash", "-c", f"exec {fakes}"], tmp_path),
        router_on(port, openai, ollama, tmp_path),
    ):
        done = typed(f"{locust} --headless -u 8 -r 8 -t 4s", tmp_path)
    # Four seconds are too short for lists that expire after thirty: inconclusive.
    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(r"cap/under-load +held", done.stdout)
    assert (tmp_path / "evidence.jsonl").stat().st_size > 0


@pytest.mark.parametrize(
    ("word", "shorter"), [("verify", FEW), ("pytest", " tests/judge/test_verdict.py")]
)
def test_a_checkout_needs_one_line(word: str, shorter: str, tmp_path: Path) -> None:
    checkout = tmp_path / "routerspec"
    names = subprocess.run(
        ("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists() and not name.startswith("reports/"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    done = typed(only_line("python3 -m venv", word) + shorter, checkout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_a_broken_promise_and_what_follows(tmp_path: Path) -> None:
    (line,) = re.findall(r"`(routerspec verify --quick --flaw\s[a-z-]+)`", README)
    done = typed(" ".join(line.split()) + " --seed 1", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"(?m)^cap/each-route +held", done.stdout)
    assert re.search(r"(?m)^cap/streams +violated", done.stdout)
    (run,) = (tmp_path / ".routerspec" / "runs").glob("2*")
    for command, status, expected in (
        (f"routerspec judge {run}", 1, "cap/streams"),
        (f"routerspec compare {run} {run}", 0, "cap/streams"),
        (f"routerspec repro {run} cap/streams", 0, "repro.py"),
        ("routerspec list", 0, "cap/streams"),
        ("routerspec explain cap/streams", 0, "How to fix it"),
        ("routerspec targets", 0, "haproxy"),
    ):
        after = typed(command, tmp_path)
        assert after.returncode == status, command + after.stdout + after.stderr
        assert expected in after.stdout, command
