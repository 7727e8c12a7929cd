"""The lab: the providers, and the router between them and the clients."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.request import urlopen

from routerspec.repro.kit.clients import Client, Exchange, label
from routerspec.repro.kit.providers import Answer, Call, Provider

READY_WITHIN_S = 120.0


class NotExercisedError(Exception):
    """The situation did not come about: neither for nor against the router."""


class Lab:
    """The providers, and the router between them and the clients."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._keys = keys_from_environment(settings["environment"])
        self.settings = settings
        self.headers: dict[str, str] = self._with_keys(settings["headers"])
        self.url: str = settings["url"]
        self.providers = [Provider(name, port) for name, port in settings["ports"].items()]
        self.urls = [self.url]
        self.replicas: dict[int, str] = {}
        self.reach: Callable[[str], str] = str
        self._named: dict[str, subprocess.Popen[bytes]] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._values: dict[str, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="routerspec-repro-"))

    def __enter__(self) -> Lab:
        if self.settings["start"]:
            self._start(self.settings["start"])
        else:
            urls = " and ".join(f"{each.url} as its {each.name}" for each in self.providers)
            say(f"The router at {self.url} must use {urls} provider.")
        return self

    def __exit__(self, *_: object) -> None:
        for child in [self._child, *self._others]:
            if child is not None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def cap(self) -> int:
        """The concurrency limit that the router was started with."""
        return int(self.settings["cap"])

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The routes and modes to send requests on."""
        cells: list[dict[str, Any]] = self.settings["cells"]
        return [{**cell, "headers": self._with_keys(cell["headers"])} for cell in cells]

    @property
    def calls(self) -> list[Call]:
        """Every generation call of this script's clients that reached a provider."""
        return [call for each in self.providers for call in each.received if call.number]

    def open_calls(self) -> list[Call]:
        """Those that are open now."""
        return [call for call in self.calls if call.open]

    def open_for(self, clients: Iterable[Client]) -> list[Call]:
        """The open calls of those clients that still wait."""
        waiting = {client.number for client in clients if client.waiting}
        return [call for call in self.open_calls() if call.number in waiting]

    def calls_of(self, client: Client) -> list[Call]:
        """The calls that were made for one client."""
        return [call for call in self.calls if call.number == client.number]

    def arrived(self, client: Client, within_s: float = 15.0) -> bool:
        """Wait for its first call, or for an answer without one; whether there is a call."""
        wait_until(lambda: self.calls_of(client) or client.over.is_set(), within_s)
        return bool(self.calls_of(client))

    def busy(self, calls: Iterable[Call] | None = None) -> int:
        """How many of the open calls (or of these) count against one and the same limit."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for call in self.open_calls() if calls is None else calls:
            provider = call.provider.partition("-")[0]
            group = {"provider": provider, "model": f"{provider} {call.model}"}
            groups[group.get(self.settings["scope"], "")].append(call.number)
        once = self.settings["counts"] == "requests"
        return max((len(set(its) if once else its) for its in groups.values()), default=0)

    def answer_with(self, answered: Callable[[Answer], None]) -> None:
        """How all providers answer generation calls from now on."""
        for provider in self.providers:
            provider.on_call = answered

    def hold(self, first: int = 0, pad: str = "", *, only_streams: bool = False) -> threading.Event:
        """All providers hold every answer from now on; set the event to release them.

        With ``first``, streams are held after that many pieces, and embeddings are not held: a RAG
        route asks for them before it streams.
        """
        gate = threading.Event()

        def held(answer: Answer) -> None:
            call = answer.call
            if first and call.stream:
                answer.pieces(first, pad)
            passes = (first and call.embeds) or (only_streams and not call.stream)
            if passes or answer.held_until(gate):
                answer.whole()

        self.answer_with(held)
        return gate

    def list_with(self, answered: Callable[[Answer], None]) -> None:
        """How all providers answer requests for their model list from now on."""
        for provider in self.providers:
            provider.on_list = answered

    def client(self, cell: dict[str, Any]) -> Client:
        """A client that has not sent its request yet, of each replica of the router in turn."""
        self.urls.append(self.urls.pop(0))
        return Client(self.urls[-1], cell)

    def request(self, cell: dict[str, Any]) -> Client:
        """A client that has sent its request."""
        return self.client(cell).send()

    def lister(self, model: str = "") -> Exchange:
        """A request for the model list (or for one model) that is not sent yet."""
        path = self.settings["list_path"] + (f"/{model}" if model else "")
        return Exchange(self.url, "GET", path, self.headers)

    def lister_at(self, replica: int) -> Exchange:
        """The same to one replica."""
        return Exchange(self.replicas[replica], "GET", self.settings["list_path"], self.headers)

    def get_list(self, model: str = "") -> Exchange:
        """Send it, and wait for the answer."""
        listing = self.lister(model).send()
        listing.done()
        return listing

    def _urls(self) -> dict[str, str]:
        """Placeholder -> URL of each provider and instance, and of all of a provider."""
        urls: dict[str, str] = {}
        for provider in self.providers:
            base, _, number = provider.name.partition("-")
            urls[f"{base}_url" + (f"_{number}" if number else "")] = provider.url
            known = urls.get(f"{base}_urls", "")
            urls[f"{base}_urls"] = f"{known},{provider.url}" if known else provider.url
        return urls

    def exited(self) -> str:
        """Why the router is no longer there; empty while it is."""
        if self._child is None or self._child.poll() is None:
            return ""
        return f"The router exited with status {self._child.returncode}. Log:\n{self._log()}"

    def _log(self) -> str:
        """The end of the router's log, without keys."""
        log = (self._folder / "router.log").read_text(errors="replace")[-2000:]
        for name, key in self._keys.items():
            log = log.replace(key, f"<{name}>")
        return log

    def _with_keys(self, texts: dict[str, str]) -> dict[str, str]:
        """The texts with the keys of the environment in place of ``<NAME>``."""
        return {name: with_keys(text, self._keys) for name, text in texts.items()}

    def _start(self, start: dict[str, Any]) -> None:
        self._values |= self._urls()
        for service in start["services"]:
            self._values[service["name"] + "_port"] = free_port()
        self.start_services()
        self.urls, ports = [], dict(self._values)
        for number in range(start["replicas"], 0, -1):  # The first comes last: it is the one.
            port = self._values["port"] = free_port()
            self._values["replica"] = str(number)
            for service in start["services"]:  # The last replica may have a way of its own.
                name = service["name"] + "_port"
                last = number == start["replicas"] > 1
                self._values[name] = self.reach(ports[name]) if last else ports[name]
            if self._child is not None:
                self._others.append(self._child)
            self._child = self._spawn(start, "router" if number == 1 else f"router-{number}")
            self.url = f"http://127.0.0.1:{port}"
            self.urls.append(self.url)
            self.replicas[number] = self.url
            self._await(self.url + (start["ready"] or "/"))

    def _spawn(self, start: dict[str, Any], name: str) -> subprocess.Popen[bytes]:
        """Start a process with a folder and a log of this name."""
        self._values["dir"] = str(self._folder / name)
        self.write_files(start["files"])
        shown = [self._filled(word) for word in start["command"]]
        command = [with_keys(word, self._keys) for word in shown]
        if command[0] == "python":
            command[0] = sys.executable
        env = dict(os.environ, NO_PROXY="127.0.0.1")
        env["PATH"] = env.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        for variable, text in self._with_keys(start["env"]).items():
            env[variable] = self._filled(text)
        found = shutil.which(command[0], path=env["PATH"])
        if not found:
            stop(f"{command[0]} is not installed. {start['install']}")
        say(f"Starting {' '.join(shown)}")
        log = (self._folder / f"{name}.log").open("wb")
        child = subprocess.Popen([found, *command[1:]], env=env, stdout=log, stderr=log)
        self._named[name] = child
        return child

    def start_services(self) -> None:
        """Start what the replicas share, each at its port."""
        for service in self.settings["start"]["services"]:
            self._others.append(self._spawn(service, service["name"]))
            self._await_port(self._values[service["name"] + "_port"])

    def end_services(self) -> None:
        """Kill what the replicas share."""
        for service in self.settings["start"]["services"]:
            self._named[service["name"]].kill()
            self._named[service["name"]].wait()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to ``router-2``, the second replica."""
        if name not in self._named:
            raise NotExercisedError("The replicas were not started by this script.")
        self._named[name].send_signal(number)

    def write_files(self, files: dict[str, str]) -> None:
        """Write the router's files."""
        folder = Path(self._values["dir"])
        folder.mkdir(exist_ok=True)
        for name, text in self._with_keys(files).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._filled(text))

    def start_again(self) -> None:
        """Stop the router, and start it anew."""
        if self._child is None:
            raise NotExercisedError("The router was not started by this script.")
        for child in [self._child, *self._others]:
            child.kill()
            child.wait()
        self._child, self._others = None, []
        self._start(self.settings["start"])

    def send_signal(self, name: str) -> None:
        """Send the router's process a signal: TERM, HUP ..."""
        if self._child is None:
            raise NotExercisedError("The router was not started by this script.")
        self._child.send_signal(getattr(signal, f"SIG{name}"))

    def run_command(self, words: list[str]) -> None:
        """Run a command of the router's, with ``{pid}`` and the rest filled in."""
        pid = str(self._child.pid) if self._child else ""
        filled = [self._filled(word).replace("{pid}", pid) for word in words]
        subprocess.run([with_keys(word, self._keys) for word in filled], check=False)

    def exit_status(self, within_s: float = 0.0) -> int | None:
        """The exit status of the router; None: it still runs after so long."""
        if self._child is None:
            return None
        try:
            return self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def _filled(self, text: str) -> str:
        names = "|".join(self._values)
        return re.sub(r"\{(" + names + r")\}", lambda found: self._values[found[1]], text)

    def _await_port(self, port: str) -> None:
        give_up = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < give_up:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", int(port))) == 0:
                    return
            time.sleep(0.05)
        stop(f"Nothing listens on port {port}.")

    def _await(self, url: str) -> None:
        give_up = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < give_up:
            if exited := self.exited():
                stop(exited)
            if answers(url, min(5.0, give_up - time.monotonic())):
                return
            time.sleep(0.1)
        stop(f"The router does not answer {url}. Log:\n{self._log()}")


def free_port() -> str:
    """A port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def answers(url: str, within_s: float) -> bool:
    """Whether a server says by then that it is there, however slowly it sends."""
    ready = threading.Event()

    def ask() -> None:
        try:
            urlopen(url, timeout=2).close()  # noqa: S310 - our own router's
            ready.set()
        except HTTPError as error:
            if error.code < 500:
                ready.set()
        except (OSError, HTTPException):
            pass
        finally:
            over.set()

    over = threading.Event()
    threading.Thread(target=ask, daemon=True).start()
    over.wait(within_s)
    return ready.is_set()


def keys_from_environment(names: list[str]) -> dict[str, str]:
    """Name -> key. Exits where one is not set: no key is in this script."""
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        stop(f"Set {' and '.join(missing)} in the environment: no key is in this script.")
    return {name: os.environ[name] for name in names}


def with_keys(text: str, keys: dict[str, str]) -> str:
    """The text with the keys in place of ``<NAME>``; another ``<NAME>`` stays."""
    return re.sub(r"<(\w+)>", lambda found: keys.get(found[1], found[0]), text)


def wait_until(holds: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until it holds, or for so long: on a busy machine the first call may take its time."""
    give_up = time.monotonic() + within_s
    while not holds() and time.monotonic() < give_up:
        time.sleep(0.02)


def all_over(exchanges: Iterable[Exchange]) -> bool:
    """Whether none of them waits for an answer any more."""
    return all(exchange.over.is_set() for exchange in exchanges)


def settled(count: Callable[[], int], for_s: float = 0.7, at_most_s: float = 10.0) -> int:
    """Wait until ``count`` has not changed for ``for_s`` seconds; what it is then."""
    last, since = count(), time.monotonic()
    give_up = since + at_most_s
    while time.monotonic() < min(give_up, since + for_s):
        time.sleep(0.02)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def idle(lab: Lab, for_s: float = 0.3) -> None:
    """Wait until calls neither come nor go."""
    settled(lambda: len(lab.open_calls()), for_s)


def retry_refused(lab: Lab, clients: list[Client], for_s: float, at_most_s: float = 10.0) -> int:
    """Wait until the open calls have not changed for ``for_s`` seconds; how many there are then.

    Clients that are refused meanwhile are replaced by new ones, ten times a second.
    """
    last, since = len(lab.open_calls()), time.monotonic()
    give_up = since + at_most_s
    while time.monotonic() < min(give_up, since + for_s):
        time.sleep(0.1)
        for client in [each for each in clients if each.over.is_set()]:
            if client.status in lab.settings["reject_status"]:
                clients.remove(client)
                clients.append(lab.request(client.cell))
        if (now := len(lab.open_calls())) != last:
            last, since = now, time.monotonic()
    return last


def release(gate: threading.Event, clients: Iterable[Exchange], within_s: float = 10.0) -> None:
    """Open the gate and wait for the answers; clients still waiting after a while disconnect."""
    gate.set()
    give_up = time.monotonic() + within_s
    for client in clients:
        if not client.done(max(0.0, give_up - time.monotonic())):
            client.leave()


def occupy(lab: Lab) -> tuple[threading.Event, list[Client]]:
    """As many held calls as the cap allows: the event that releases them, and their clients."""
    gate = lab.hold()
    clients = [lab.request(lab.cells[0]) for _ in range(lab.cap)]
    wait_until(lambda: lab.busy() >= lab.cap or all_over(clients))
    if lab.busy() < lab.cap:
        release(gate, clients)
        raise NotExercisedError("Could not occupy all slots.")
    return gate, clients


def admitted(lab: Lab) -> int:
    """How many calls are open at once with five times the cap waiting."""
    gate = lab.hold()
    clients = [lab.request(lab.cells[0]) for _ in range(5 * lab.cap)]
    wait_until(lambda: lab.open_calls() or all_over(clients))
    count = retry_refused(lab, clients, for_s=0.7)
    release(gate, clients, within_s=30 if count else 1)
    return count


def succeeds(lab: Lab, within_s: float = 2.0) -> bool:
    """Send single requests until one succeeds: a circuit breaker may be open."""
    lab.answer_with(lambda answer: answer.whole())
    give_up = time.monotonic() + within_s + lab.settings["recovery_s"]
    while time.monotonic() < give_up:
        client = lab.request(lab.cells[0])
        client.done(3)
        if client.succeeded:
            return True
        client.leave()
        time.sleep(0.1)
    return False


def end_badly(lab: Lab, cell: dict[str, Any], how: str) -> bool:
    """One request that ends as ``how`` says; True when it reached a provider."""
    gate = threading.Event()
    if how.startswith("hang-up") or how == "timeout":
        middle = how == "hang-up-mid-stream"
        gate = lab.hold(first=int(middle), only_streams=middle)
    else:
        lab.answer_with(lambda answer: answer.fail(how))
    client = lab.request(cell)
    if how.startswith("hang-up"):
        lab.arrived(client, within_s=5)
        if how == "hang-up-mid-stream":
            wait_until(lambda: client.text, within_s=2)
        client.leave()
        wait_until(lambda: not lab.open_calls(), within_s=1)
    else:
        client.done(lab.settings["timeout_s"] + 10 if how == "timeout" else 30)
    gate.set()
    return bool(lab.calls_of(client))


def listed(listing: Exchange) -> dict[str, int]:
    """Provider -> the epoch of its models in this list, for those that are in it."""
    found = (
        re.findall(r"(openai|ollama|anthropic)-epoch-(\d+)", listing.text)
        if listing.succeeded
        else []
    )
    return {provider: int(epoch) for provider, epoch in found}


def fetches(lab: Lab) -> dict[str, int]:
    """Provider -> how often its list was fetched so far."""
    return {provider.name: len(provider.lists) for provider in lab.providers}


def fetches_since(lab: Lab, before: dict[str, int]) -> dict[str, int]:
    """Provider -> how often its list was fetched since."""
    return {name: count - before[name] for name, count in fetches(lab).items()}


def expire(lab: Lab) -> None:
    """Wait until whatever the router has cached is out of date, to the whole second."""
    time.sleep(lab.settings["ttl_s"] + 1.4)


def any_cell(lab: Lab, trial: Callable[[dict[str, Any]], bool]) -> bool:
    """True when the trial is on some route and mode; not exercised where it is on none."""
    reasons = []
    for cell in lab.cells:
        try:
            if trial(cell):
                return True
        except NotExercisedError as reason:
            say(f"{label(cell)}: not exercised: {reason}")
            reasons.append(str(reason))
    if len(reasons) == len(lab.cells):
        raise NotExercisedError(reasons[0] if reasons else "There is no route to try it on.")
    return False


def times_in_row(trial: Callable[[], bool], times: int = 3) -> int:
    """How often in a row the trial is True, at most ``times``."""
    return next((number for number in range(times) if not trial()), times)


def say(text: str) -> None:
    """Print it at once; where nobody reads it any more, the exit code still counts."""
    try:
        print(harmless(text), flush=True)  # noqa: T201 - a script's own output
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def stop(reason: str) -> NoReturn:
    """Exit without a result."""
    print(harmless(f"Could not be tried: {reason}"), file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(2)


def harmless(text: str) -> str:
    """The text without control characters: a router's log may have any."""
    return re.sub(r"[^\n\t\x20-\x7e\u00a0-\u2027\u2070-\ud7ff\ue000-\ufefe]", "?", text)


def run(
    played: Callable[..., bool], settings: dict[str, Any], for_s: float = 0.0, **parameters: Any
) -> NoReturn:
    """Start everything, play the round until it reproduces or time is up, and exit.

    Exit code 1 says that it was reproduced; Python's own for an error is 1 too, so that none is
    left to it.
    """
    try:
        reproduced = try_out(played, settings, for_s, parameters)
    except Exception as error:
        stop(f"{type(error).__name__}: {error}")
    sys.exit(int(reproduced))


def try_out(
    played: Callable[..., bool], settings: dict[str, Any], for_s: float, parameters: dict[str, Any]
) -> bool:
    """Play the round until it reproduces or time is up; whether it did."""
    for_s = float(sys.argv[1]) if len(sys.argv) > 1 else for_s
    say(f"{settings['title']}\nScript of routerspec {settings['routerspec']}")
    say(f"Python {platform.python_version()}, {platform.platform()}")
    reproduced, exercised, reason, attempt = False, False, "", 0
    with Lab(settings) as lab:
        give_up = time.monotonic() + for_s
        while not reproduced:
            attempt += 1
            try:
                reproduced = played(lab, **parameters)
                exercised = True
            except NotExercisedError as error:
                reason = f"{error} {lab.exited()}".strip()
                say(f"Not exercised: {error}")
            left = give_up - time.monotonic()
            if reproduced or left <= 0 or lab.exited():
                break
            say(f"Attempt {attempt}: not reproduced; retrying for up to {left:.0f} s.")
    if not (reproduced or exercised):
        stop(reason)
    say("REPRODUCED." if reproduced else "Not reproduced.")
    return reproduced
