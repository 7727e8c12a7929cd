"""The lab: both providers, and the router between them and the clients.

Decides how the router is started, and counts what is open. Refuses to know what is being shown.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, cast

from routerspec.repro.kit.clients import Client, Exchange
from routerspec.repro.kit.providers import Answer, Call, Provider


class Lab:
    """Both providers and the router between them and the clients."""

    def __init__(self, told: dict[str, Any]) -> None:
        """``told``: what was written into the script when it was made."""
        ports = told["ports"]
        self.told = told
        self.headers: dict[str, str] = told["headers"]
        self.openai = Provider("openai", ports[0])
        self.ollama = Provider("ollama", ports[1])
        self.url: str = told["url"]
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="routerspec-repro-"))

    def __enter__(self) -> Lab:
        if self.told["start"]:
            self._start(self.told["start"])
        else:
            say(f"The router at {self.url} must use {self.openai.url} as its OpenAI-compatible")
            say(f"provider and {self.ollama.url} as its Ollama.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def providers(self) -> tuple[Provider, Provider]:
        """Both of them."""
        return self.openai, self.ollama

    @property
    def calls(self) -> list[Call]:
        """Every generation call of ours that reached a provider."""
        both = [*self.openai.calls, *self.ollama.calls]
        return [call for call in both if call.number]

    def open_calls(self) -> list[Call]:
        """Those that are open now."""
        return [call for call in self.calls if call.open]

    def calls_of(self, client: Client) -> list[Call]:
        """The calls that were made for one client."""
        return [call for call in self.calls if call.number == client.number]

    def busy(self, calls: Iterable[Call] | None = None) -> int:
        """How many of the open calls (or of these) count against one and the same cap."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for call in self.open_calls() if calls is None else calls:
            group = {"provider": call.provider, "model": f"{call.provider} {call.model}"}
            groups[group.get(self.told["scope"], "")].append(call.number)
        once = self.told["counts"] == "requests"
        return max((len(set(its) if once else its) for its in groups.values()), default=0)

    def answer_with(self, answered: Callable[[Answer], None]) -> None:
        """How both providers answer from now on."""
        self.openai.on_call = self.ollama.on_call = answered

    def hold(self) -> threading.Event:
        """Both providers hold every answer from now on; set what comes back to let them go."""
        gate = threading.Event()

        def held(answer: Answer) -> None:
            if answer.wait(gate):
                answer.whole()

        self.answer_with(held)
        return gate

    def list_with(self, answered: Callable[[Answer], None]) -> None:
        """How both providers answer the list from now on."""
        self.openai.on_list = self.ollama.on_list = answered

    def client(self, route: dict[str, Any], mode: str) -> Client:
        """A client that has not asked yet."""
        return Client(self.url, self.headers, route, mode)

    def lister(self, model: str = "") -> Exchange:
        """A client that is to ask for the model list (or for one model) and has not yet."""
        path = self.told["list_path"] + (f"/{model}" if model else "")
        return Exchange(self.url, "GET", path, self.headers, None)

    def ask_list(self, model: str = "") -> Exchange:
        """Ask the router for its model list and wait for the answer."""
        asked = self.lister(model).ask()
        asked.over.wait(30)
        return cast("Exchange", asked)

    def _start(self, start: dict[str, Any]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        values = dict(start["values"], port=port, dir=str(self._folder))
        values |= {"openai_url": self.openai.url, "ollama_url": self.ollama.url}

        def filled(text: str) -> str:
            names = "|".join(values)
            return re.sub(r"\{(" + names + r")\}", lambda found: str(values[found[1]]), text)

        for name, text in start["files"].items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(text))
        command = [filled(word) for word in start["command"]]
        if command[0] == "python":
            command[0] = sys.executable
        env = dict(os.environ, NO_PROXY="127.0.0.1")
        env["PATH"] = env.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        env |= {name: filled(text) for name, text in start["env"].items()}
        found = shutil.which(command[0], path=env["PATH"])
        if not found:
            cannot_try(f"{command[0]} is not installed. {start['install']}")
        self.url = f"http://127.0.0.1:{port}"
        say(f"Starting {' '.join(command)}")
        log = (self._folder / "router.log").open("wb")
        self._child = subprocess.Popen([found, *command[1:]], env=env, stdout=log, stderr=log)
        self._await(self.url + (start["ready"] or "/"))

    def _await(self, url: str) -> None:
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            if self._child is not None and self._child.poll() is not None:
                cannot_try(f"The router ended. Its words:\n{self._log()}")
            try:
                urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - our own router's
                return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        cannot_try(f"The router does not answer {url}. Its words:\n{self._log()}")

    def _log(self) -> str:
        return (self._folder / "router.log").read_text(errors="replace")[-2000:]


def quiet(count: Callable[[], int], for_s: float = 0.7, at_most_s: float = 10.0) -> int:
    """Wait until ``count`` has not changed for a while; what it is then."""
    last, since = count(), time.monotonic()
    give_up = since + at_most_s
    while time.monotonic() < min(give_up, since + for_s):
        time.sleep(0.02)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def insist(lab: Lab, clients: list[Client], for_s: float = 0.7, at_most_s: float = 10.0) -> int:
    """Wait until the open calls have not changed for a while; how many there are then.

    Who is refused meanwhile asks again, as a client of his own, ten times a second.
    """
    last, since = len(lab.open_calls()), time.monotonic()
    give_up = since + at_most_s
    while time.monotonic() < min(give_up, since + for_s):
        time.sleep(0.1)
        for client in [each for each in clients if each.over.is_set()]:
            if client.status in lab.told["reject_status"]:
                clients.remove(client)
                clients.append(lab.client(client.route, client.mode).ask())
        if (now := len(lab.open_calls())) != last:
            last, since = now, time.monotonic()
    return last


def reached(count: Callable[[], int], least: int, within_s: float = 15.0) -> None:
    """Wait until so many are there: on a busy machine the first may take its time."""
    give_up = time.monotonic() + within_s
    while count() < least and time.monotonic() < give_up:
        time.sleep(0.02)


def listed(asked: Exchange) -> dict[str, int]:
    """Provider -> the epoch of its models in this list, for those that are in it."""
    found = re.findall(r"(openai|ollama)-epoch-(\d+)", asked.text) if asked.well else []
    return {provider: int(epoch) for provider, epoch in found}


def fetches(lab: Lab) -> dict[str, int]:
    """Provider -> how often its list was fetched so far."""
    return {provider.dialect: len(provider.lists) for provider in lab.providers}


def expire(lab: Lab) -> None:
    """Wait until whatever the router has cached is out of date, to the whole second."""
    time.sleep(lab.told["ttl_s"] + 1.4)


def fresh(lab: Lab) -> float:
    """Have every list fetched anew; when the first of them is half-way through its TTL."""
    ttl = lab.told["ttl_s"]
    for _ in range(3):
        lab.ask_list()
        quiet(lambda: sum(fetches(lab).values()), for_s=min(0.2, 0.05 * ttl))
        ended = [provider.lists[-1].ended for provider in lab.providers if provider.lists]
        if ended and all(end and time.monotonic() - end < 0.3 * ttl for end in ended):
            return min(end for end in ended if end) + 0.5 * float(ttl)
        expire(lab)
    return cannot_try("The router was not seen to fetch a list when it was asked for one.")


def let_go(gate: threading.Event, clients: Iterable[Exchange], within_s: float = 10.0) -> None:
    """Open the gate and wait until all are answered; who still waits after a while leaves."""
    gate.set()
    give_up = time.monotonic() + within_s
    for client in clients:
        if not client.over.wait(max(0.0, give_up - time.monotonic())):
            client.leave()


def full_house(lab: Lab) -> tuple[threading.Event, list[Client]]:
    """As many clients as the cap has room for, all held: what lets them go, and who they are."""
    gate, cap = lab.hold(), lab.told["cap"]
    inside = [lab.client(*lab.told["cells"][0]).ask() for _ in range(cap)]
    reached(lab.busy, cap)
    if lab.busy() < cap:
        gate.set()
        cannot_try("The house did not get full.")
    return gate, inside


def room(lab: Lab) -> int:
    """How many calls are let in at once, with five times the cap asking."""
    gate = lab.hold()
    cap, (route, mode) = lab.told["cap"], lab.told["cells"][0]
    clients = [lab.client(route, mode).ask() for _ in range(5 * cap)]
    reached(lambda: len(lab.open_calls()), 1)
    count = insist(lab, clients)
    gate.set()
    for client in clients:
        client.over.wait(30 if count else 1)
        if not client.over.is_set():
            client.leave()
    return count


def succeeds(lab: Lab, within_s: float = 2.0) -> bool:
    """Ask one by one until a request is answered well: a breaker may be shutting out."""
    lab.answer_with(Answer.whole)
    give_up = time.monotonic() + within_s + lab.told["recovery_s"]
    while time.monotonic() < give_up:
        client = lab.client(*lab.told["cells"][0]).ask()
        client.over.wait(3)
        if client.well:
            return True
        client.leave()
        time.sleep(0.1)
    return False


def say(text: str) -> None:
    """Tell the reader."""
    print(text, flush=True)  # noqa: T201 - a script's own words


def cannot_try(text: str) -> NoReturn:
    """It could not be tried: neither seen nor not seen."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a script's own words
    sys.exit(2)


def run(show: Callable[[Lab], bool], told: dict[str, Any]) -> NoReturn:
    """Start everything, look for the violation, and end with the status that says what was seen."""
    for_s = float(sys.argv[1]) if len(sys.argv) > 1 else float(told["for_s"])
    say(f"Python {platform.python_version()}, {platform.platform()}")
    with Lab(told) as lab:
        give_up, tries = time.monotonic() + for_s, 1
        seen = show(lab)
        while not seen and (left := give_up - time.monotonic()) > 0:
            say(f"Not in try {tries}. Looking on, for {left:.0f} s at most.")
            seen, tries = show(lab), tries + 1
    say("SEEN AGAIN: the promise is broken." if seen else "Not seen this time.")
    sys.exit(int(seen))
