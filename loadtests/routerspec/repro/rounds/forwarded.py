"""Rounds that compare a request on both sides: what the client sent, and what the provider got."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from routerspec.repro.kit.clients import label, streams
from routerspec.repro.kit.compare import Asked, answer_probe, answered, beside, sent
from routerspec.repro.kit.dialects import canonical
from routerspec.repro.kit.lab import Lab, NotExercisedError, any_cell, say
from routerspec.repro.kit.providers import Answer, Call
from routerspec.repro.kit.spoken import spoken_at

Fields = Mapping[str, Any]


def same_body(lab: Lab) -> bool:
    """Send fields that a router need not know, integers above 2^53, every character, long texts.

    True when what a field says is another at the provider, or when a long request is refused and a
    short one is not. Across dialects only texts, tools and limits are compared.
    """
    plain, *probes = lab.settings["probes"]

    def trial(cell: dict[str, Any]) -> bool:
        wrong, seen = False, 0
        sends_on(answered(lab, cell, plain))
        for probe in probes:
            asked = answered(lab, cell, plain | probe)
            if "pad" in probe and asked.answer.status != 200 and not asked.calls:
                asked = answered(lab, cell, plain | probe)
            most = lab.settings["max_body_bytes"] or len(asked.body)
            refused = "pad" in probe and asked.answer.status != 200 and len(asked.body) <= most
            if not asked.calls and not refused:
                continue
            seen += 1
            found = changed(lab, asked) if asked.calls else [asked.answer.outcome]
            wrong = wrong or bool(found)
            sizes = f"{len(asked.body)} bytes sent, {sum(len(c.body) for c in asked.calls)} arrived"
            say(f"{label(cell)}, {probe['name']}: {sizes}; {'; '.join(found) or 'nothing changed'}")
        if not seen:
            raise NotExercisedError("No request reached a provider.")
        if wrong:
            say("  An official client gets an answer to another request, or an error, and no word.")
        return wrong

    return any_cell(lab, trial)


def sends_on(plain: Asked) -> None:
    """The route sends a request on. Raises NotExercisedError where it composes one of its own."""
    body = plain.call.sent_body
    if len(plain.calls) > 1 or len(turns(body)) > 1 or body.get("tools"):
        raise NotExercisedError("The route composes its own requests.")


def changed(lab: Lab, asked: Asked) -> list[str]:
    """The fields that the provider got otherwise, with both of their texts."""
    compare = differing_fields if asked.relay else differing_meaning
    return compare(json.loads(asked.body), asked.call.sent_body, lab.settings["rewrites"])


def differing_fields(ours: Fields, its: Fields, rewrites: list[str]) -> list[str]:
    """Those that are not equal as JSON; fields that were added are not compared."""
    found = []
    for name, value in ours.items():
        there = its.get(name)
        if name in ("stream_options", "metadata") and isinstance(value, dict):
            there = {key: each for key, each in (there or {}).items() if key in value}
        same = canonical_json(one_way(name, value)) == canonical_json(one_way(name, there))
        if name not in ("model", "stream", *rewrites) and not same:
            texts = [json.dumps(each)[-120:] for each in (value, there)]
            found.append(f"{name}: {texts[0]} was sent, {texts[1]} arrived")
    return found


def one_way(name: str, value: Any) -> Any:
    """The field without defaults: a text for one part with this text, no usual ``type``."""
    if name == "input" and isinstance(value, str):
        return [{"role": "user", "content": value}]
    return _one_way(value) if name in ("messages", "input", "system") else value


def _one_way(value: Any) -> Any:
    if isinstance(value, dict):
        unsaid = [("is_error", False)] + [("type", "message")] * ("role" in value)
        kept = {n: _one_way(its) for n, its in value.items() if its is not None}
        return {n: its for n, its in kept.items() if (n, its) not in unsaid}
    parts = [*map(_one_way, value)] if isinstance(value, list) else value
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
        part = parts[0]
        if part.keys() == {"type", "text"} and str(part["type"]).endswith("text"):
            return part["text"]
    return parts


def canonical_json(value: Any) -> str:
    """The same text for what is equal as JSON: keys in order, whole numbers as integers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        return str([(key, canonical_json(value[key])) for key in sorted(value)])
    return str([*map(canonical_json, value)]) if isinstance(value, list) else json.dumps(value)


def differing_meaning(ours: Fields, its: Fields, rewrites: list[str]) -> list[str]:
    """The same of what both dialects can say. What is sampled how need not arrive at all."""
    said, heard = meaning(ours), meaning(its)
    texts, at = " ".join(heard["messages"]), 0
    for text in said["messages"]:
        at = texts.find(text, at)
        if at < 0:
            return [f"messages: {text[:60]!r} did not arrive"]
    kept = {n: value for n, value in said.items() if value and n in heard and n != "messages"}
    return differing_fields(kept, heard, rewrites)


def meaning(body: Fields) -> dict[str, Any]:
    """The texts, the tools, the limit of the answer's length, and how it is sampled."""
    fields = {**body.get("options", {}), **body}
    functions = [each.get("function", each) for each in body.get("tools") or ()]
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
    sampled = ("temperature", "top_p", "seed", "stop")
    tools = [[its.get("name"), its.get("parameters", its.get("input_schema"))] for its in functions]
    return {
        "messages": [text_of(turn.get("content")) for turn in turns(body)],
        "tools": tools,
        "max_tokens": next((fields[name] for name in names if fields.get(name)), None),
        **{name: fields[name] for name in sampled if name in fields},
    }


def turns(body: Fields) -> list[Fields]:
    """The messages, or items, of a request."""
    its = body.get("messages", body.get("input", ()))
    return [{"content": its}] if isinstance(its, str) else [t for t in its if isinstance(t, dict)]


def text_of(content: Any) -> str:
    """A text, or those of a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def same_attempts(lab: Lab) -> bool:
    """Let first attempts fail, by an error and by a reset, and compare the attempts.

    True when a later one has not all that the first had, or asks a provider for a model that it
    does not have.
    """

    def trial(cell: dict[str, Any]) -> bool:
        wrong, again = False, 0
        for how in ("error", "reset"):
            first, *later = _attempts(lab, cell, how)
            again += len(later)
            for number, attempt in enumerate(later, 2):
                lacks = _lacking(lab, first, attempt)
                say(f"{label(cell)}, {how} first: attempt {number}: {lacks or 'the whole request'}")
                if lacks:
                    wrong = True
                    beside(first.body, attempt.body, ("attempt 1", f"attempt {number}"))
        if not again:
            raise NotExercisedError("No failed call was tried again.")
        if wrong:
            say("  The client gets the provider's answer to another request, or its error 400.")
        return wrong

    return any_cell(lab, trial)


def _attempts(lab: Lab, cell: dict[str, Any], how: str) -> list[Call]:
    """The calls of one request whose first attempt fails, those without its body among them."""
    before = {each.name: len(each.received) for each in lab.providers}
    failed: list[Call] = []

    def first_fails(answer: Answer) -> None:
        if answer.call.embeds or failed:
            answer_probe(answer, lab.settings["probes"][0])
        else:
            failed.append(answer.call)
            answer.fail(how)

    lab.answer_with(first_fails)
    fields: dict[str, Any] = {"temperature": 0.25, "top_p": 0.5, "seed": 7}
    front = spoken_at(cell["path"])
    if front in ("anthropic", "responses"):
        del fields["seed"]
    asked = sent(lab, Asked(cell, {"options": fields} if front == "ollama" else fields))
    since = [call for each in lab.providers for call in each.received[before[each.name] :]]
    its = [c for c in since if not c.embeds and (c.number == asked.number or not c.body)]
    if not its:
        raise NotExercisedError(f"No call reached a provider: {asked.answer.outcome}.")
    return sorted(its, key=lambda call: call.began)


def _lacking(lab: Lab, first: Call, later: Call) -> str:
    """What the later attempt lacks; empty: nothing."""
    if not later.sent_body:
        return f"its body has {len(later.body)} bytes, that of the first {len(first.body)}"
    models = {each.name: each.models(each.epoch) for each in lab.providers}
    if later.model != first.model and later.provider == first.provider:
        return f"model {later.model}, the first had {first.model}"
    if later.provider != first.provider and later.model not in models[later.provider]:
        return f"{later.provider} has no model {later.model}"
    same = spoken_at(first.path) == spoken_at(later.path)
    compare = differing_fields if same else differing_meaning
    return "; ".join(compare(first.sent_body, later.sent_body, lab.settings["rewrites"]))


def own_headers(lab: Lab) -> bool:
    """Send a cookie, addresses and headers that end at each hop.

    True when a provider gets one of them, or the router's Host.
    """
    marks = {
        "Cookie": "rs-cookie",
        "X_Forwarded_For": "203.0.113.77",
        "Forwarded": "for=203.0.113.78",
        "X_Real_IP": "203.0.113.79",
        "X_Routerspec_Hop": "rs-hop",
        "Keep_Alive": "timeout=7777",
        "TE": "deflate;q=0.777",
        "Proxy_Authorization": "Basic cnM6cnM=",
    }
    ours = {**marks, "Connection": "keep-alive, TE, X-Routerspec-Hop"}

    def trial(cell: dict[str, Any]) -> bool:
        asked = answered(lab, cell, lab.settings["probes"][0], **ours)
        if not asked.calls:
            raise NotExercisedError(f"No call reached a provider: {asked.answer.outcome}.")
        host = lab.url.removeprefix("http://")
        wrong = [
            line
            for call in asked.calls
            for line in call.headers.splitlines()
            if any(value in line for value in marks.values()) or line.lower() == f"host: {host}"
        ]
        say(f"{label(cell)}: client sent: {ours}")
        say(f"{label(cell)}: provider got: {'; '.join(wrong) or 'none of them'}")
        return bool(wrong)

    return any_cell(lab, trial)


def same_stream_flag(lab: Lab) -> bool:
    """Send requests for streams and for whole answers.

    True when the provider is asked for the other.
    """

    def trial(cell: dict[str, Any]) -> bool:
        asked = answered(lab, cell, lab.settings["probes"][0])
        sends_on(asked)
        got = asked.call.sent_body.get("stream")
        say(f"{label(cell)}: client sent stream: {streams(cell)}, provider got: {got}")
        return bool(asked.call.stream != streams(cell))

    return any_cell(lab, trial)


def results_refer(lab: Lab) -> bool:
    """Let providers call tools, and send the results with the ids that the client got.

    True when a result is lost, or does not refer to its call, or a call is not as it was made.
    """
    plain, *probes = lab.settings["probes"]

    def trial(cell: dict[str, Any]) -> bool:
        wrong, seen = False, 0
        for probe in probes:
            first = answered(lab, cell, probe)
            given = first.given.tools if first.calls and first.call.finished else []
            if not given or not first.answer.succeeded or first.got.tools != given:
                continue
            second = answered(lab, cell, plain | _answering(first, probe))
            if not any(not call.embeds for call in second.calls):
                continue
            seen += 1
            found = _loose(second.call, given)
            wrong = wrong or bool(found)
            say(f"{label(cell)}, {probe['name']}: {'; '.join(found) or 'each result for its call'}")
            if found:
                names = "client sent", "provider got"
                beside(_messages(second.body), _messages(second.call.body), names)
        if not seen:
            raise NotExercisedError("No result of a tool came back to a provider.")
        if wrong:
            say("  OpenAI's API refuses such messages with status 400.")
        return wrong

    return any_cell(lab, trial)


def _with_results(first: Asked, probe: dict[str, Any]) -> dict[str, Any]:
    """The fields of the request that answers the calls, with the ids that its client got."""
    ollama = first.front == "ollama"
    said: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, its in enumerate(first.got.calls.values()):
        arguments: Any = json.loads(its["arguments"] or "{}") if ollama else its["arguments"]
        marks = {} if ollama else {"id": its["id"], "type": "function"}
        said.append({**marks, "function": {"name": its["name"], "arguments": arguments}})
        names = {"tool_name": its["name"]} if ollama else {"tool_call_id": its["id"]}
        results.append({"role": "tool", **names, "content": f"result {number} of {its['name']}"})
    turn = {"role": "assistant", "content": "", "tool_calls": said}
    return {**probe["fields"], "messages": [*first.cell["body"]["messages"], turn, *results]}


def _with_items(first: Asked, probe: dict[str, Any]) -> dict[str, Any]:
    """The same for OpenAI's Responses."""
    calls, results = [], []
    for number, its in enumerate(first.got.calls.values()):
        call = {"type": "function_call", "call_id": its["id"], "name": its["name"]}
        calls.append({**call, "arguments": its["arguments"] or "{}"})
        result = {"type": "function_call_output", "call_id": its["id"]}
        results.append({**result, "output": f"result {number} of {its['name']}"})
    items = [*first.cell["body"]["input"], *calls, *results]
    return {**probe["asks"]["responses"], "input": items}


def _with_blocks(first: Asked, probe: dict[str, Any]) -> dict[str, Any]:
    """The same for Anthropic's Messages."""
    calls, results = [], []
    for number, its in enumerate(first.got.calls.values()):
        call = {"type": "tool_use", "id": its["id"], "name": its["name"]}
        calls.append({**call, "input": json.loads(its["arguments"] or "{}")})
        result = {"type": "tool_result", "tool_use_id": its["id"]}
        results.append({**result, "content": f"result {number} of {its['name']}"})
    turns = {"role": "assistant", "content": calls}, {"role": "user", "content": results}
    return {
        **probe["asks"]["anthropic"],
        "messages": [*first.cell["body"]["messages"], *turns],
    }


def _answering(first: Asked, probe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a probe that answers the calls."""
    if first.front == "anthropic":
        return {"asks": {"anthropic": _with_blocks(first, probe)}}
    if first.front == "responses":
        return {"asks": {"responses": _with_items(first, probe)}}
    return {"fields": _with_results(first, probe)}


def _loose(call: Call, given: list[tuple[str, str]]) -> list[str]:
    """What is wrong with the calls and results that the provider got back."""
    made, results = _calls_of(call), _results_of(call)
    names = sorted((name, arguments) for _, name, arguments in made)
    found = [f"calls {names}, the provider had made {given}"] * (names != given)
    called = {ident: name for ident, name, _ in made}
    for number in range(len(given)):
        its = [(ident, text) for ident, text in results if f"result {number} of" in text]
        if len(its) != 1:
            found.append(f"result {number} is there {len(its)} times")
        elif spoken_at(call.path) != "ollama":
            ident, text = its[0]
            if f"of {called.get(ident)}" not in text:
                found.append(f"{text!r} refers to {ident}, a call of {called.get(ident)}")
    return found


def _calls_of(call: Call) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the calls in the request."""
    found = []
    for turn in turns(call.sent_body):
        for each in turn.get("tool_calls") or ():
            function = each["function"]
            found.append((str(each.get("id")), function["name"], _arguments(function)))
        if turn.get("type") == "function_call":
            found.append((str(turn.get("call_id")), turn["name"], _arguments(turn)))
        for block in _blocks(turn, "tool_use"):
            its = {"arguments": block.get("input")}
            found.append((str(block.get("id")), block["name"], _arguments(its)))
    return found


def _results_of(call: Call) -> list[tuple[str, str]]:
    """(id, text) of what may be a result in the request."""
    found = []
    for turn in turns(call.sent_body):
        if turn.get("type") == "function_call_output":
            found.append((str(turn.get("call_id")), _text(turn.get("output"))))
        elif blocks := _blocks(turn, "tool_result"):
            found += [(str(b.get("tool_use_id")), _text(b.get("content"))) for b in blocks]
        else:
            found.append((str(turn.get("tool_call_id")), _text(turn.get("content"))))
    return found


def _blocks(turn: Fields, kind: str) -> list[dict[str, Any]]:
    content = turn.get("content")
    blocks = content if isinstance(content, list) else []
    return [block for block in blocks if isinstance(block, dict) and block.get("type") == kind]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content)


def _arguments(function: Fields) -> str:
    arguments = function.get("arguments")
    return canonical(arguments if isinstance(arguments, str) else json.dumps(arguments or {}))


def _messages(body: bytes) -> bytes:
    """Its messages, a word a line."""
    return json.dumps(turns(json.loads(body)), indent=0).encode()
