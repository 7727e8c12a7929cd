"""One request and its answer as bytes of both sides, and how they are shown beside each other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from routerspec.repro.kit.clients import label, streams
from routerspec.repro.kit.dialects import Said, answer_of
from routerspec.repro.kit.lab import Lab, NotExercisedError, any_cell, say, wait_until
from routerspec.repro.kit.providers import Answer, Call
from routerspec.repro.kit.raw import Connection, Response
from routerspec.repro.kit.spoken import spoken_at

SHOWN = 4  # lines of each side
NUMBERS = itertools.count(1)


class Asked:
    """One request to the router, its answer, and the calls that were made for it."""

    def __init__(
        self, cell: dict[str, Any], fields: dict[str, Any], pad: int = 0, number: int = 0
    ) -> None:
        self.number, self.cell = number or next(NUMBERS), cell
        prompt = f"Say repro-{self.number}- again{' word' * (pad // 5)}"
        body = json.dumps(cell["body"] | fields, ensure_ascii=False)
        self.body = body.replace("<prompt>", prompt).encode()
        self.answer = Response()
        self.calls: list[Call] = []

    @property
    def call(self) -> Call:
        """The call whose answer this is: the last, where those before it failed.

        Raises NotExercisedError where there is none or several good ones, as of an agent.
        """
        made = [call for call in self.calls if not call.embeds]
        if not made or any(call.finished for call in made[:-1]):
            raise NotExercisedError(f"{len(made)} calls for one request: {self.answer.outcome}")
        return made[-1]

    @property
    def relay(self) -> bool:
        """Client and provider speak the same dialect."""
        return self.front == spoken_at(self.call.path)

    @property
    def front(self) -> str:
        """The dialect of the client."""
        return spoken_at(self.cell["path"])

    @property
    def given(self) -> Said:
        """What the provider said."""
        return Said(self.call.path, self.call.stream, self.call.answered)

    @property
    def got(self) -> Said:
        """What the client got."""
        return Said(self.cell["path"], streams(self.cell), self.answer.body)


def sent(lab: Lab, asked: Asked, on: Connection | None = None, **headers: str) -> Asked:
    """Send it, on a connection of its own unless ``on`` one that there is, and read the answer."""
    try:
        line = on or Connection(lab.url)
    except OSError as error:
        asked.answer.failure = f"{type(error).__name__}: {error}"
        return asked
    line.write(head(lab, asked, line.host, headers) + asked.body)
    timeout_s = lab.settings["timeout_s"]
    line.read(within_s=min(2 * timeout_s, timeout_s + 30) + 5, into=asked.answer)
    if on is None:
        line.close()
    wait_until(lambda: not any(call.open for call in calls_for(lab, asked)), within_s=2)
    asked.calls = calls_for(lab, asked)
    return asked


def head(lab: Lab, asked: Asked, host: str, headers: dict[str, str]) -> bytes:
    """The head of the request as bytes."""
    its = {"Host": host, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    its |= {"Content-Length": str(len(asked.body)), **asked.cell["headers"]}
    its |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {asked.cell['path']} HTTP/1.1", *(f"{n}: {v}" for n, v in its.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def calls_for(lab: Lab, asked: Asked) -> list[Call]:
    """The calls so far that were made for it."""
    return [call for call in lab.calls if call.number == asked.number]


def answered(lab: Lab, cell: dict[str, Any], probe: dict[str, Any], **headers: str) -> Asked:
    """One request that the provider answers as the probe says."""
    lab.answer_with(lambda answer: answer_probe(answer, probe))
    asked = Asked(cell, asked_for(cell, probe), probe.get("pad", 0))
    return sent(lab, asked, None, **headers)


def answer_probe(answer: Answer, probe: dict[str, Any]) -> None:
    """Answer in the dialect and mode that the call asks for."""
    ends = probe.get("ends", "")
    form = f"{spoken_at(answer.call.path)} {'stream' if answer.call.stream else 'chat'}"
    if answer.call.embeds:
        answer.embeddings()
    elif "answers" in probe and form not in probe["answers"]:
        answer.error(400)  # the dialect cannot say it
    elif "status" in probe or (ends == "error" and not answer.call.stream):
        answer.error(probe.get("status", 500))
    else:
        answer.send_bytes(answer_of(answer.call, probe), ends.replace("error", "clean end"))


def asked_for(cell: dict[str, Any], probe: dict[str, Any]) -> dict[str, Any]:
    """What the request asks for beside its prompt, in its dialect; Ollama knows the tools."""
    front = spoken_at(cell["path"])
    fields: dict[str, Any] = dict(probe.get("fields", {}))
    if front in ("anthropic", "responses"):
        fields = dict(probe.get("asks", {}).get(front, {}))
    if not streams(cell):
        fields.pop("stream_options", None)
    messages = cell["body"].get("messages", ())
    if messages and "notes" in probe:
        fields["messages"] = [{**message, **probe["notes"]} for message in messages]
    known = {"tools", "messages"} if front == "ollama" else fields.keys()
    return {name: value for name, value in fields.items() if name in known}


def compared(
    lab: Lab, differences: Callable[[Asked], list[str]], means: str, *, failed: bool = False
) -> bool:
    """Play each probe on each route and mode, and print where both sides differ.

    ``differences`` says in what; ``means`` what an official client does with that. Only answers
    that both sides ended well are compared, with ``failed`` all.
    """

    def trial(cell: dict[str, Any]) -> bool:
        seen, wrong, reason = False, False, ""
        for probe in lab.settings["probes"]:
            name, its = probe["name"], answered(lab, cell, probe)
            try:
                found = differences(its if failed else ended_well(its))
            except NotExercisedError as error:
                reason = f"{name}: {error}"
                continue
            seen = True
            say(f"{label(cell)}, {name}: {'; '.join(found) or 'nothing lost'}")
            if found:
                wrong = True
                beside(its.call.answered, its.answer.body)
                say(f"  {means}")
        if not seen:
            raise NotExercisedError(reason)
        return wrong

    return any_cell(lab, trial)


def ended_well(asked: Asked) -> Asked:
    """It itself. Raises NotExercisedError unless both sides ended the answer well."""
    if not (asked.call.finished and asked.answer.succeeded):
        raise NotExercisedError(f"The client got {asked.answer.outcome}.")
    return asked


def beside(
    given: bytes, got: bytes, names: tuple[str, str] = ("provider sent", "client got")
) -> None:
    """Print the lines that only one side has, or where one line of both begins to differ."""
    ours, its = given.splitlines(keepends=True), got.splitlines(keepends=True)
    if len(ours) == len(its) == 1:
        pairs = zip(given, got, strict=False)
        first = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(given), len(got)))
        ours, its = [given[max(0, first - 60) :][:140]], [got[max(0, first - 60) :][:140]]
    for name, lines in ((names[0], missing(ours, its)), (names[1], missing(its, ours))):
        for line in lines[:SHOWN] or [b"(nothing else)"]:
            say(f"  {name:>13}: {shown(line)}")
        if len(lines) > SHOWN:
            say(f"  {name:>13}: and {len(lines) - SHOWN} lines more")


def missing(lines: Iterable[bytes], others: Iterable[bytes]) -> list[bytes]:
    """The lines that the other side has not; as often as it lacks them."""
    left = list(others)
    found = []
    for line in lines:
        if line in left:
            left.remove(line)
        else:
            found.append(line)
    return found


def shown(data: bytes, most: int = 150) -> str:
    """Bytes as Python writes them, of many the first and the last."""
    text = ascii(data)[1:]
    return text if len(text) <= most else f"{text[: most - 30]} ... {text[-25:]}"


def own(asked: Asked) -> bool:
    """The answer is the one that a provider gave to this client."""
    return asked.answer.succeeded and f"[{asked.number}." in asked.answer.body.decode(
        errors="replace"
    )
