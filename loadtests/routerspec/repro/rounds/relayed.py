"""Rounds that compare an answer on both sides: what the provider sent, and what the client got."""

from __future__ import annotations

import threading
from typing import Any

from routerspec.repro.kit.clients import label, streams
from routerspec.repro.kit.compare import Asked, asked_for, calls_for, compared, ended_well, sent
from routerspec.repro.kit.dialects import answer_of
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    any_cell,
    say,
    times_in_row,
    wait_until,
)
from routerspec.repro.kit.providers import Answer
from routerspec.repro.kit.spoken import spoken_at


def same_text(lab: Lab) -> bool:
    """Let providers answer in characters of one to four bytes, cut anywhere.

    True when the client's text has not the provider's in it, once; or when the client gets an error
    or half an answer, though the provider sent a whole one.
    """

    def lost(asked: Asked) -> list[str]:
        if not asked.call.finished or asked.answer.refused_as_wrong:
            raise NotExercisedError(f"The client got {asked.answer.outcome}.")
        if not asked.answer.succeeded:
            return [f"{asked.answer.outcome} for a whole answer"]
        given, got = asked.given.text, asked.got.text
        return [
            f"text of choice {n}: {first_difference(text, got.get(n, ''))}"
            for n, text in given.items()
            if got.get(n, "").count(text) != 1 and not asked.given.calls
        ]

    means = "openai-python and ollama-python join the pieces to this text: nothing raises."
    return compared(lab, lost, means, failed=True)


def first_difference(text: str, other: str) -> str:
    """Where they begin to differ, and how they go on there."""
    pairs = enumerate(zip(text, other, strict=False))
    at = next((n for n, (one, its) in pairs if one != its), min(len(text), len(other)))
    begin = max(0, at - 20)
    ours, its = text[begin : at + 20], other[begin : at + 20]
    return f"from character {at} on {ours!a} was sent, {its!a} came"


def whole_events(lab: Lab) -> bool:
    """Let providers frame their events in every way that the standard allows.

    True when the client cannot read an event or a line, and the provider's can be read.
    """
    return compared(
        lab,
        lambda asked: [fault for fault in asked.got.faults if not asked.given.faults],
        "openai-python raises JSONDecodeError at data that is no JSON, and drops what is no event; "
        "ollama-python raises at a line that is no JSON.",
    )


def conventions(lab: Lab) -> bool:
    """Let providers stream as the official clients expect it.

    True when the client's stream lacks the provider's [DONE], has it twice or has events after it,
    or has an event without data.
    """

    def unusual(asked: Asked) -> list[str]:
        given, got = asked.given, asked.got
        if asked.front == "anthropic":
            raise NotExercisedError("Its clients take such streams.")
        found = ["an event without data"] * (got.empty > given.empty)
        if asked.front == "responses":
            return found
        if asked.relay and asked.front == "openai" and got.ends != given.ends:
            found.append(f"{given.ends} [DONE] from the provider, {got.ends} for the client")
        return found + ["events after [DONE]"] * (got.after_end > given.after_end)

    means = "openai-python raises JSONDecodeError at an event without data; others wait for [DONE]."
    return compared(lab, unusual, means)


def one_ending(lab: Lab) -> bool:
    """Let providers end their streams well, and break them off.

    True when a choice of a good stream has no finish reason or two, when more comes after it, or
    when a stream that was broken off has one.
    """

    def wrong(asked: Asked) -> list[str]:
        given, got = asked.given, asked.got
        if not asked.call.finished:
            reasons = {reason for its in got.finishes.values() for reason in its}
            claims = reasons & {"stop", "tool_calls"} or (got.ends and not reasons)
            return [f"broken off, and ended: {claims}"] * bool(claims and not got.errors)
        if spoken_at(asked.call.path) in ("anthropic", "responses") and given.ends != 1:
            raise NotExercisedError("By the standard the provider's last event is not complete.")
        if ended_well(asked) and got.errors:
            return [f"an error for a good ending: {got.errors[0]}"]
        if asked.front in ("anthropic", "responses"):
            wrong_count = [f"{got.ends} events that end it"] * (got.ends != 1)
            return [*wrong_count, *got.disorder]
        ended = got.finishes
        found = [
            f"finish reasons of choice {n}: {ended[n]}"
            for n, its in given.finishes.items()
            if len(ended.get(n, ())) > len(its)
        ]
        found += ["neither a finish reason nor an end"] * (not any(ended.values()) and not got.ends)
        late = got.late > given.late or (asked.front == "ollama" and got.after_end)
        return found + ["more comes after the end"] * bool(late)

    means = (
        "openai-python raises at none of this: a stream without an end, or with one that is not "
        "true, is a whole answer to it."
    )
    return compared(lab, wrong, means, failed=True)


def same_finish(lab: Lab) -> bool:
    """Let providers end answers for several reasons.

    True when the client gets another reason than the provider gave.
    """

    def reasons(asked: Asked) -> list[str]:
        given, got = asked.given, asked.got
        to_ollama = asked.front == "ollama" and not asked.relay
        ended, told = got.finishes, {"stop", "length"}
        return [
            f"finish reason of choice {n}: {its[-1:]}, {ended[n][-1:]} for the client"
            for n, its in given.finishes.items()
            if n in ended
            and its[-1:] != ended[n][-1:]
            and not (given.calls or to_ollama)
            and (asked.relay or told >= {*its})
        ]

    means = "An official client takes an answer that was cut for one that is complete."
    return compared(lab, reasons, means)


def same_choices(lab: Lab) -> bool:
    """Let providers answer with two choices, the pieces of both by turns.

    True when the client gets other choices, or the provider was not asked for two.
    """

    def others(asked: Asked) -> list[str]:
        given, got = asked.given, asked.got
        if not asked.relay:
            raise NotExercisedError("A translation need not know several choices.")
        asks = asked.call.sent_body.get("n")
        if asks != 2 and len(got.text) < 2:
            return [f"n: 2 was sent, n: {asks} reached the provider"]
        same = given.text.keys() == got.text.keys()
        return [] if same else [f"choices {[*given.text]}, {[*got.text]} for the client"]

    return compared(lab, others, "openai-python tells choices apart by their index.")


def one_id(lab: Lab) -> bool:
    """Let providers stream answers with one id.

    True when it changes within the client's answer.
    """

    def changed(asked: Asked) -> list[str]:
        its = asked.got.ids
        several = len(its) > 1 >= len(asked.given.ids)
        return [f"{len(its)} ids: {', '.join(its[:3])}"] * several + asked.got.renamed

    return compared(lab, changed, "openai-python passes them on: grouped by id, it is several.")


def same_extras(lab: Lab) -> bool:
    """Let providers refuse, cite, and give logprobs that the request asks for.

    True when a client of the same dialect does not get them.
    """

    def lost(asked: Asked) -> list[str]:
        given, got = asked.given, asked.got
        if not asked.relay or not (given.logprobs or any(given.refusal.values()) or given.cited):
            raise NotExercisedError("The provider gave none in the client's dialect.")
        found = ["logprobs"] * (given.logprobs != got.logprobs)
        found += ["annotations"] * (given.cited != got.cited)
        texts = {*got.refusal.values(), *got.text.values()}
        return found + ["refusal"] * (not {*given.refusal.values()} <= texts | {""})

    return compared(lab, lost, "openai-python has None there.")


def same_usage(lab: Lab) -> bool:
    """Let providers count tokens, in a stream when the request asks for it.

    True when the client gets other counts or none. Cached and reasoning tokens may be left out.
    """

    def counts(asked: Asked) -> list[str]:
        given, got = asked.given.usage, asked.got.usage
        streamed = streams(asked.cell) and asked.front == "openai"
        asks = b'"include_usage"' in asked.body
        legal = {given.get("input"), given.get("input", 0) - given.get("cached", 0)}
        if asked.relay and asked.front != "anthropic":
            legal = {given.get("input")}
        if asks and asked.relay and b'"include_usage"' not in asked.call.body:
            return ["stream_options was sent, and did not reach the provider"]
        if not given or (streamed and not asks):
            raise NotExercisedError("The provider told no usage, or none was asked for.")
        wrong = {
            name: count
            for name, count in given.items()
            if got.get(name, 0) not in (legal if name == "input" else {count})
            and (name in ("input", "output") or name in got)
        }
        told = {name: got.get(name) for name in wrong}
        return [f"counts {wrong}, {told} for the client"] * bool(wrong)

    return compared(lab, counts, "An official client bills these counts, or has usage None.")


def same_calls(lab: Lab) -> bool:
    """Let providers call tools: two at once, with arguments cut anywhere, and without any.

    True when the client gets other calls: their names, arguments, or how many, joined as an
    official client does; when two have one id; or when the provider is not given the tools.
    """

    def calls(asked: Asked) -> list[str]:
        if not asked.call.sent_body.get("tools"):
            return ["tools were sent, and none reached the provider"]
        given, got = asked.given.tools, asked.got.tools
        if given != got:
            return [f"calls {given}, {got} for the client"]
        ids = [its["id"] for its in asked.got.calls.values()]
        return [f"ids {ids}"] * (len(set(ids)) < len(ids) or not all(ids))

    means = (
        "openai-python's stream helper joins fragments by their index: of calls that share one it "
        "makes one, with the names and arguments of both run together."
    )
    return compared(lab, calls, means)


def failure_seen(lab: Lab) -> bool:
    """Let providers fail before a stream begins, and within it.

    True when the client's stream has status 200 and ends in order, without an error that its
    official library raises. Stream helpers raise at a message or a response that has no end.
    """

    def hidden(asked: Asked) -> list[str]:
        got, answer = asked.got, asked.answer
        if asked.call.finished or not (asked.call.failed or asked.given.errors):
            raise NotExercisedError("The provider did not fail, or told nothing of it.")
        endless = not (got.ends or any(got.finishes.values()) or got.faults)
        seen = got.errors or any("no JSON" in fault for fault in got.faults)
        seen = seen or (endless and asked.front in ("anthropic", "responses"))
        return ["the failure is not in any event"] * bool(answer.succeeded and not seen)

    means = "openai-python drops what is no event: it has a whole answer, and nothing raises."
    return compared(lab, hidden, means, failed=True)


def early_arguments(lab: Lab) -> bool:
    """Let providers send 8 KiB of the arguments of a tool call, and pause.

    True when a client of the same dialect has none of them two seconds later, three times of three.
    """
    probe = lab.settings["probes"][0]

    def trial(cell: dict[str, Any]) -> bool:
        paused = 0

        def late() -> bool:
            nonlocal paused
            gate, asked = threading.Event(), Asked(cell, asked_for(cell, probe))
            lab.answer_with(lambda answer: _paused(answer, probe, gate))
            reader = threading.Thread(target=sent, args=(lab, asked), daemon=True)
            reader.start()
            wait_until(lambda: not reader.is_alive() or _half_sent(lab, asked))
            wait_until(lambda: b"xxx" in asked.answer.body, within_s=2)
            held, early = _half_sent(lab, asked), b"xxx" in asked.answer.body
            gate.set()
            reader.join(10)
            held = held and asked.relay
            paused += held
            return held and not early and b"xxx" in asked.answer.body

        times = times_in_row(late)
        say(f"{label(cell)}: {times} times of 3 no argument came while the provider paused")
        if not paused:
            raise NotExercisedError("No provider of the client's dialect was paused.")
        return times == 3

    return any_cell(lab, trial)


def _paused(answer: Answer, probe: dict[str, Any], gate: threading.Event) -> None:
    """The events of a stream, with a pause before the last fragment."""
    if answer.call.embeds or not answer.call.stream:
        answer.error(500)
        return
    writes = answer_of(answer.call, probe)
    answer.begin_with(writes[:-3])
    if answer.held_until(gate):
        answer.send_bytes(writes[-3:])


def _half_sent(lab: Lab, asked: Asked) -> bool:
    """A call for it is open, with most of its arguments sent."""
    asked.calls = calls_for(lab, asked)
    return any(call.open and len(call.answered) > 8192 for call in asked.calls)
