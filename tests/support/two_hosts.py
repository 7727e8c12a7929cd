"""Two instances of a provider as on two hosts, run as a process in a network namespace of its own.

    unshare --net python -P -m tests.support.two_hosts FOLDER CAP ARGUMENT...

The first instance is in this namespace; the second in another network namespace, over a virtual
wire, and in another time namespace, so that its clock is a day ahead. The reference router, with
this cap, stands in front of both. Then `routerspec verify ARGUMENT...` is run in FOLDER.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fake_providers
from fake_providers.process import child_environment
from routerspec.processes.foreign import http_status
from routerspec.processes.ports import free_port

HERE, THERE = "10.213.7.1", "10.213.7.2"
PORT, CONTROL = 8011, 8012
AHEAD_S = 86_400


def ip(*words: str, within: int | None = None) -> None:
    """Run `ip`, or in the network namespace of another process."""
    other = ["nsenter", "--net", f"--target={within}"] if within is not None else []
    subprocess.run([*other, "ip", *words], check=True)


def await_file(path: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait until it is there."""
    while not path.exists():
        assert child.poll() is None, f"exited with {child.returncode}"
        time.sleep(0.01)


@contextlib.contextmanager
def ended(child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with the block."""
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def second_instance(folder: Path) -> Iterator[str]:
    """The second instance of OpenAI; the URL at which it is reached from here."""
    wired, announce = folder / "wired", folder / "second.json"
    command = f'until test -e {wired}; do sleep 0.01; done; exec "$@"'
    fakes = [
        *(sys.executable, "-P", "-m", "fake_providers", "--instance", "2", "--host", THERE),
        *("--openai-port", str(PORT), "--ollama-port", "none", "--anthropic-port", "none"),
        *("--control-port", str(CONTROL), "--control-token", "none", "--announce", str(announce)),
        *("--ledger", str(folder / "second.jsonl")),
    ]
    apart = ["unshare", "--net", "--time", f"--monotonic={AHEAD_S}", "--fork", "--kill-child"]
    child = subprocess.Popen([*apart, "sh", "-c", command, "sh", *fakes], env=child_environment())
    with ended(child):
        ours = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{child.pid}/ns/net").readlink() == ours:
            time.sleep(0.01)
        ip("link", "add", "here", "type", "veth", "peer", "name", "there")
        ip("link", "set", "there", "netns", str(child.pid))
        for name, address, within in (("here", HERE, None), ("there", THERE, child.pid)):
            ip("address", "add", f"{address}/24", "dev", name, within=within)
            ip("link", "set", name, "up", within=within)
        wired.touch()
        await_file(announce, child)
        yield f"http://{THERE}:{PORT}"


@contextlib.contextmanager
def router(cap: str, urls: list[str]) -> Iterator[str]:
    """The reference router in front of these."""
    port = free_port()
    env = {
        "ROUTER_OPENAI_URL": ",".join(urls),
        "ROUTER_MAX_CONCURRENCY": cap,
        "ROUTER_BALANCE": "round-robin",
    }
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    with ended(subprocess.Popen(command, env=child_environment() | env)):
        url = f"http://127.0.0.1:{port}"
        for _ in range(1000):
            with contextlib.suppress(OSError):
                http_status(url, "/v1/models", 2)
                break
            time.sleep(0.02)
        yield url


def main(folder: Path, cap: str, arguments: list[str]) -> int:
    """Run it; the exit status of the verification."""
    ip("link", "set", "lo", "up")
    with (
        fake_providers.running(ledger=folder / "first.jsonl") as first,
        second_instance(folder) as second,
        router(cap, [first.openai_url, second]) as url,
    ):
        controls = f"{first.control_url},http://{THERE}:{CONTROL}"
        given = [*arguments, "--url", url, "--fakes", controls, "--allow-remote"]
        command = [sys.executable, "-P", "-m", "routerspec", "verify", *given]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
