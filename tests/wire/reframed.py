"""Sound variations of recorded answers: what a relay or a translator may make of them.

Written apart from the readers under test: it takes the usual framing of the fakes apart with
``split`` and ``json``, and never asks a reader of ours.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A step of an answer: one of its fields is set."""

    index: int = 0
    text: str = ""
    refusal: str = ""
    call: int | None = None
    """Number of a tool call in its choice; with its id and name at its first piece."""
    id: str = ""
    name: str = ""
    arguments: str = ""
    annotations: tuple[Any, ...] = ()
    logprobs: Any = None
    """Of exactly this text: such a piece stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer says, whatever its dialect."""

    pieces: tuple[Piece, ...]
    finishes: dict[int, str]
    usage: Json | None
    """As in OpenAI's dialect."""


# -- taken apart ---------------------------------------------------------------------------------


def said(body: str, *, provider: str, stream: bool) -> Said:
    """What a recorded answer in its usual framing says."""
    if provider == "ollama":
        return _said_by_ollama([json.loads(line) for line in body.splitlines() if line])
    if not stream:
        return _said_whole(json.loads(body))
    events = [e.removeprefix("data: ") for e in body.split("\n\n") if e]
    return _said_in_chunks([json.loads(event) for event in events if event != "[DONE]"])


def _said_in_chunks(chunks: list[Json]) -> Said:
    pieces: list[Piece] = []
    finishes: dict[int, str] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            if choice["finish_reason"]:
                finishes[index] = choice["finish_reason"]
            logprobs = choice.get("logprobs")
            if delta.get("content"):
                pieces.append(Piece(index=index, text=delta["content"], logprobs=logprobs))
            if delta.get("refusal"):
                pieces.append(Piece(index=index, refusal=delta["refusal"]))
            if delta.get("annotations"):
                pieces.append(Piece(index=index, annotations=tuple(delta["annotations"])))
            for call in delta.get("tool_calls") or ():
                function = call["function"]
                pieces.append(
                    Piece(
                        index=index,
                        call=call["index"],
                        id=call.get("id", ""),
                        name=function.get("name", ""),
                        arguments=function.get("arguments", ""),
                    )
                )
    return Said(pieces=tuple(pieces), finishes=finishes, usage=usage)


def _said_whole(answer: Json) -> Said:
    chunks = []
    for choice in answer["choices"]:
        delta = deepcopy(choice["message"])
        for number, call in enumerate(delta.get("tool_calls") or ()):
            call["index"] = number
        chunks.append({"choices": [{**choice, "delta": delta}]})
    return _said_in_chunks([*chunks, {"choices": [], "usage": answer.get("usage")}])


def _said_by_ollama(lines: list[Json]) -> Said:
    pieces: list[Piece] = []
    made = 0
    for line in lines:
        message = line["message"]
        if message.get("content"):
            pieces.append(Piece(text=message["content"]))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            arguments = json.dumps(function["arguments"])
            pieces.append(
                Piece(call=made, id=f"call_{made}", name=function["name"], arguments=arguments)
            )
            made += 1
    last = lines[-1]
    finish = "tool_calls" if made else last["done_reason"]
    usage = {
        "prompt_tokens": last.get("prompt_eval_count", 0),
        "completion_tokens": last.get("eval_count", 0),
    }
    usage["total_tokens"] = sum(usage.values())
    return Said(pieces=tuple(pieces), finishes={0: finish}, usage=usage)


# -- varied --------------------------------------------------------------------------------------


class Variation:
    """One random sound form of what was said."""

    def __init__(self, it: Said, random: Random, *, relay: bool, usage: bool) -> None:
        """``usage``: its client asked for usage in a stream."""
        self._random = random
        self._relay = relay
        self._usage = usage
        self._said = it
        self._pieces = self._shuffled(list(it.pieces))
        self._head = {
            "id": f"chatcmpl-{random.randrange(10**6)}",
            "created": random.randrange(10**9),
            "model": random.choice(("fake-chat", "openai/fake-chat")),
        }

    def _maybe(self, of: int = 2) -> bool:
        return self._random.randrange(of) == 0

    # -- pieces --------------------------------------------------------------------------------

    def _shuffled(self, pieces: list[Piece]) -> list[Piece]:
        """The same pieces cut, joined and put in another order where that is legal."""
        calls = any(piece.call is not None for piece in pieces)
        if calls and self._maybe(3):
            pieces = [piece for piece in pieces if not piece.text]  # text before the calls
        pieces = self._calls_in_another_order(pieces)
        cut: list[Piece] = []
        for piece in pieces:
            cut += self._cut(piece)
        joined: list[Piece] = []
        for piece in cut:
            if joined and self._maybe(3) and (both := _joined(joined[-1], piece)):
                joined[-1] = both
            else:
                joined.append(piece)
        return joined

    def _calls_in_another_order(self, pieces: list[Piece]) -> list[Piece]:
        numbers = sorted({p.call for p in pieces if p.call is not None})
        if len(numbers) < 2 or not self._maybe(3) or any(p.index for p in pieces):
            return pieces
        first = next(at for at, p in enumerate(pieces) if p.call is not None)
        order = self._random.sample(numbers, len(numbers))
        moved = [
            _with(piece, call=new)
            for new, old in enumerate(order)
            for piece in pieces
            if piece.call == old
        ]
        return [*pieces[:first], *moved, *(p for p in pieces[first:] if p.call is None)]

    def _cut(self, piece: Piece) -> list[Piece]:
        if piece.logprobs is not None or not self._maybe(3):
            return [piece]
        for name in ("text", "refusal", "arguments"):
            value = getattr(piece, name)
            if value:
                at = self._random.randint(0, len(value))
                rest = {"id": "", "name": ""} if name == "arguments" else {}
                return [
                    _with(piece, **{name: value[:at]}),
                    _with(piece, **{name: value[at:]}, **rest),
                ]
        return [piece]

    # -- OpenAI's dialect ----------------------------------------------------------------------

    def chunks(self) -> bytes:
        """A stream of chunks."""
        return self._events(self._chunks())

    def _chunks(self) -> list[Json]:
        kind = "chat.completion.chunk"
        many = [(p.index, self._delta(p), p.logprobs) for p in self._pieces]
        indexes = sorted(self._said.finishes)
        if self._maybe():
            role = {"role": "assistant", "content": self._random.choice(("", None))}
            many = [(index, dict(role), None) for index in indexes] + many
        else:
            many = [(index, {"content": ""}, None) for index in indexes if self._maybe()] + many
        ends = {index: self._reason(index) for index in indexes}
        made = []
        for place, (index, delta, logprobs) in enumerate(many):
            last = not any(other == index for other, _, _ in many[place + 1 :])
            finish = ends.pop(index) if last and self._maybe(3) else None
            made.append({"choices": [self._choice(index, delta, finish, logprobs)]})
        for index in self._random.sample(sorted(ends), len(ends)):
            delta = self._random.choice(({}, {"content": ""}, {"content": None}))
            made.append({"choices": [self._choice(index, delta, ends[index], None)]})
        if self._maybe(4):
            made.insert(0, {"choices": []})
        self._with_usage(made)
        fingerprint = {"system_fingerprint": "fp_1"} if self._maybe() else {}
        more: list[Json] = [
            {"obfuscation": "x" * self._random.randrange(9)} if self._maybe(3) else {} for _ in made
        ]
        return [
            {**self._head, "object": kind, **fingerprint, **extra, **chunk}
            for extra, chunk in zip(more, made, strict=True)
        ]

    def _delta(self, piece: Piece) -> Json:
        delta: Json = {}
        if piece.call is not None:
            function: Json = {"arguments": piece.arguments}
            call: Json = {"index": piece.call, "function": function}
            if piece.id:
                call |= {"id": piece.id, "type": "function"}
                function["name"] = piece.name
            elif self._maybe(4):
                call["id"] = self._random.choice(("", None))
                function["name"] = self._random.choice(("", None))
            delta["tool_calls"] = [call]
            if self._maybe(4):
                delta["content"] = None
        else:
            if piece.text or not (piece.refusal or piece.annotations):
                delta["content"] = piece.text
            if piece.refusal:
                delta["refusal"] = piece.refusal
            if piece.annotations:
                delta["annotations"] = list(piece.annotations)
        if self._maybe(4):
            delta["role"] = "assistant"
        return delta

    def _choice(self, index: int, delta: Json, finish: str | None, logprobs: Any) -> Json:
        choice: Json = {"index": index, "delta": delta}
        if finish is not None or self._maybe():
            choice["finish_reason"] = finish
        if logprobs is not None or self._maybe():
            choice["logprobs"] = logprobs
        return choice

    def _reason(self, index: int) -> str:
        return self._said.finishes[index]

    def _with_usage(self, made: list[Json]) -> None:
        usage = self._said.usage
        if usage is None or not (self._usage or self._maybe(4)):
            return
        if self._maybe(3):
            for chunk in made:
                chunk["usage"] = None
        if self._maybe(3) and made[-1]["choices"]:
            made[-1]["usage"] = self._counts(usage)
        else:
            made.append({"choices": [], "usage": self._counts(usage)})

    def _counts(self, usage: Json) -> Json:
        counts = deepcopy(usage)
        if not self._relay:
            if self._maybe():
                counts["prompt_tokens_details"] = {"cached_tokens": 0}
            if self._maybe():
                counts.pop("completion_tokens_details", None)
        return counts

    def whole(self) -> bytes:
        """A chat completion in one object."""
        choices = []
        for index in sorted(self._said.finishes):
            its = [piece for piece in self._pieces if piece.index == index]
            text = "".join(piece.text for piece in its)
            message: Json = {"role": "assistant", "content": text}
            if calls := _calls(its):
                message["tool_calls"] = [
                    {
                        "id": id_,
                        "type": "function",
                        "function": {"name": name, "arguments": self._arguments(arguments)},
                    }
                    for id_, name, arguments in calls
                ]
                message["content"] = text or self._random.choice((None, ""))
            refusal = "".join(piece.refusal for piece in its)
            if refusal or self._maybe():
                message["refusal"] = refusal or None
            if annotations := [one for piece in its for one in piece.annotations]:
                message["annotations"] = annotations
            choice = {"index": index, "message": message, "finish_reason": self._reason(index)}
            entries = [e for p in its if p.logprobs for e in p.logprobs["content"]]
            choice["logprobs"] = {"content": entries, "refusal": None} if entries else None
            choices.append(choice)
        answer = {**self._head, "object": "chat.completion", "choices": choices}
        if self._said.usage is not None:
            answer["usage"] = self._counts(self._said.usage)
        return self._json(answer).encode()

    def _arguments(self, text: str) -> str:
        """The same arguments written in another way."""
        try:
            value = json.loads(text) if text else {}
        except ValueError:
            return text
        if value == {} and self._maybe():
            return ""
        return self._json(value) if self._maybe() else text

    # -- Ollama's dialect ----------------------------------------------------------------------

    def lines(self) -> bytes:
        """A stream of JSON lines, of the first choice."""
        pieces = self._of_first()
        made: list[Json] = [
            {"content": piece.text + piece.refusal}
            for piece in pieces
            if piece.text or piece.refusal
        ]
        calls = [self._call(*call) for call in _calls(pieces)]
        last: Json = {"content": ""}
        while calls and self._maybe():
            made.append({"content": "", "tool_calls": [calls.pop(0)]})
        if calls and self._maybe():
            made.append({"content": "", "tool_calls": calls})
        elif calls:
            last["tool_calls"] = calls
        lines = [self._line(message, done=False) for message in made]
        lines.append(self._line(last, done=True))
        end = self._random.choice(("\n", "\r\n"))
        body = end.join(self._json(line, lines=True) for line in lines)
        return (body + (end if self._maybe(4) is False else "")).encode()

    def object(self) -> bytes:
        """The same in one object."""
        pieces = self._of_first()
        message: Json = {"content": "".join(piece.text + piece.refusal for piece in pieces)}
        if calls := _calls(pieces):
            message["tool_calls"] = [self._call(*call) for call in calls]
        return self._json(self._line(message, done=True)).encode()

    def _of_first(self) -> list[Piece]:
        return [piece for piece in self._pieces if not piece.index]

    def _call(self, id_: str, name: str, arguments: str) -> Json:
        function = {"name": name, "arguments": json.loads(arguments) if arguments else {}}
        return {"id": id_, "function": function} if self._maybe() else {"function": function}

    def _line(self, message: Json, *, done: bool) -> Json:
        line: Json = {
            "model": self._head["model"],
            "created_at": f"2026-11-29T02:36:{self._random.randrange(10, 60)}Z",
            "message": {"role": "assistant", **message},
            "done": done,
        }
        if done:
            finish = self._reason(0)
            line["done_reason"] = finish if finish in {"stop", "length"} else "stop"
            counts = self._said.usage or {}
            line["prompt_eval_count"] = counts.get("prompt_tokens", 0)
            line["eval_count"] = counts.get("completion_tokens", 0)
            for name in ("prompt_eval_count", "eval_count"):
                if not line[name]:
                    del line[name]
        return line

    # -- bytes ---------------------------------------------------------------------------------

    def _json(self, value: Any, *, lines: bool = False) -> str:
        """The same value written in another way."""
        spaces = self._random.choice(((",", ":"), (", ", ": ")))
        ascii_ = self._maybe()
        if isinstance(value, dict) and self._maybe(3):
            names = self._random.sample(sorted(value), len(value))
            value = {name: value[name] for name in names}
        text = json.dumps(value, ensure_ascii=ascii_, separators=spaces)
        if lines:  # Of these, ollama-python takes some for the end of a line.
            text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
            text = text.replace("\x85", "\\u0085")
        return text.replace("/", "\\/") if self._maybe(4) else text

    def _events(self, chunks: list[Json]) -> bytes:
        eol = self._random.choice(("\n", "\r\n", "\r"))
        space = self._random.choice(("", " "))
        fields = self._maybe(4)
        out = "\ufeff" if self._maybe(8) else ""
        for number, chunk in enumerate(chunks):
            out += self._between(eol)
            block = [f"data:{space}{line}" for line in self._data(chunk)]
            if fields:
                block.append(f"id:{space}{number}")
                block.append(f"event:{space}message")
                block.insert(0, f"retry:{space}1000")
            if self._maybe(6):
                block.insert(self._random.randrange(len(block) + 1), ": within")
            out += eol.join(block) + eol + eol
        out += self._between(eol)
        if self._relay or self._maybe(3) is False:
            out += f"data:{space}[DONE]{eol}" + (eol if self._maybe(6) is False else "")
        return out.encode()

    def _between(self, eol: str) -> str:
        out = ""
        while self._maybe(4):
            out += self._random.choice((f": ping{eol}{eol}", f":{eol}", f": \u00e9{eol}{eol}", eol))
        return out

    def _data(self, chunk: Json) -> list[str]:
        if self._maybe(6):
            return json.dumps(chunk, indent=1, ensure_ascii=self._maybe()).split("\n")
        return [self._json(chunk)]


def _with(piece: Piece, **changed: Any) -> Piece:
    fields = {name: getattr(piece, name) for name in Piece.__dataclass_fields__}
    return Piece(**fields | changed)


def _joined(one: Piece, other: Piece) -> Piece | None:
    """Both in one, where they are of the same kind and neither has log probabilities."""
    if one.index != other.index or one.logprobs is not None or other.logprobs is not None:
        return None
    if one.call is not None and one.call == other.call and not other.id:
        return _with(one, arguments=one.arguments + other.arguments)
    if one.call is None and other.call is None and not (one.annotations or other.annotations):
        if bool(one.refusal) != bool(other.refusal):
            return None
        return _with(one, text=one.text + other.text, refusal=one.refusal + other.refusal)
    return None


def _calls(pieces: list[Piece]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of each tool call."""
    found: dict[int, list[str]] = {}
    for piece in pieces:
        if piece.call is not None:
            its = found.setdefault(piece.call, ["", "", ""])
            its[0] += piece.id
            its[1] += piece.name
            its[2] += piece.arguments
    return [(its[0], its[1], its[2]) for _, its in sorted(found.items())]
