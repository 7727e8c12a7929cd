"""Rounds on what a router does of its own when providers fail or are slow: limits and caches."""

from __future__ import annotations

import time
from typing import Any

from routerspec.repro.kit.clients import label
from routerspec.repro.kit.compare import Asked, sent, shown
from routerspec.repro.kit.dialects import answer_of
from routerspec.repro.kit.lab import Lab, NotExercisedError, any_cell, say, times_in_row
from routerspec.repro.kit.providers import Answer
from routerspec.repro.kit.spoken import spoken_at


def own_retry_after(lab: Lab) -> bool:
    """Let providers answer 429 and 503 with Retry-After: 2.

    True when the client's answer, of a status after which clients try again, has no Retry-After or
    one that is more than a second shorter.
    """

    def trial(cell: dict[str, Any]) -> bool:
        lost = seen = 0
        for status in (429, 503):
            lab.answer_with(lambda answer, status=status: answer.error(status, Retry_After="2"))  # type: ignore[misc]
            asked = sent(lab, Asked(cell, {}))
            if not asked.calls or asked.answer.status not in (408, 409, 425, 429, *range(500, 600)):
                continue
            seen += 1
            told = asked.answer.header("retry-after")
            lost += not told or (told.isdigit() and int(told) < 1)
            say(f"{label(cell)}: provider sent: {status}, Retry-After: 2")
            say(f"{label(cell)}:  client got: {asked.answer.status}, Retry-After: {told or 'none'}")
        if not seen:
            raise NotExercisedError("No error of a provider reached a client.")
        return lost > 0

    return any_cell(lab, trial)


def open_after_errors(lab: Lab) -> bool:
    """Let providers refuse 25 requests with status 400, then send three good ones.

    True when the router refuses all three itself, which the provider would answer.
    """

    def trial(cell: dict[str, Any]) -> bool:
        lab.answer_with(lambda answer: answer.whole())
        if not sent(lab, Asked(cell, {})).answer.succeeded:
            raise NotExercisedError("No good request was served before.")
        lab.answer_with(lambda answer: answer.error(400))
        bad = [sent(lab, Asked(cell, {})) for _ in range(25)]
        if not any(each.calls for each in bad):
            raise NotExercisedError("No request reached a provider.")
        lab.answer_with(lambda answer: answer.whole())
        good = [sent(lab, Asked(cell, {})) for _ in range(3)]
        shut = [each for each in good if (each.answer.status or 0) >= 500 and not each.calls]
        say(
            f"{label(cell)}: the provider refused {sum(bool(each.calls) for each in bad)} requests "
            f"with 400; then three good ones: {', '.join(each.answer.outcome for each in good)}, "
            f"{sum(len(each.calls) for each in good)} calls"
        )
        for each in shut[:1]:
            say(f"  client got: {shown(each.answer.body)}")
        return len(shut) == 3

    return any_cell(lab, trial)


def timeout_of_silence(lab: Lab) -> bool:
    """Let providers stream for twice the timeout, without a pause of a third of it.

    True when the stream is cut before its end, three times of three.
    """
    timeout_s = lab.settings["timeout_s"]

    def slowly(answer: Answer) -> None:
        if not answer.call.stream:
            answer.whole()
            return
        writes = answer_of(answer.call, lab.settings["probes"][0])
        for number in range(len(writes) - 1):
            answer.begin_with(writes[number : number + 1])
            time.sleep(2 * timeout_s / (len(writes) - 1))
        answer.send_bytes(writes[-1:])

    def trial(cell: dict[str, Any]) -> bool:
        seen = 0

        def cut() -> bool:
            nonlocal seen
            lab.answer_with(slowly)
            asked, began = Asked(cell, {}), time.monotonic()
            sent(lab, asked)
            took_s = time.monotonic() - began
            call = asked.call
            seen += 1
            early = not asked.answer.succeeded and 0.8 * timeout_s < took_s < 1.8 * timeout_s
            say(
                f"{label(cell)}: {len(call.answered)} bytes sent, {len(asked.answer.body)} read in "
                f"{took_s:.1f} s (timeout {timeout_s:g} s): {asked.answer.outcome}"
            )
            return early or bool(asked.got.errors)

        times = times_in_row(cut)
        if not seen:
            raise NotExercisedError("No stream reached a provider.")
        if times == 3:
            say("  httpx, and openai-python with it, waits for each read: nothing was too slow.")
        return times == 3

    return any_cell(lab, trial)


def sound_cache(lab: Lab) -> bool:
    """Send the same request twice: first it fails, or the second asks for something else.

    True when the second gets an answer with status 200 though no provider was asked for it.
    """

    def trial(cell: dict[str, Any]) -> bool:
        wrong, seen = False, 0
        for how in ("an error", "a cut stream", "max_tokens", "temperature"):
            asked = _twice(lab, cell, how)
            if asked is None:
                continue
            seen += 1
            first, second = asked
            replayed = (
                second.answer.status == 200 and not second.calls and not second.answer.failure
            )
            wrong = wrong or replayed
            say(
                f"{label(cell)}, {how}: {first.answer.outcome}, then {second.answer.outcome} with "
                f"{len(second.calls)} calls{': WRONG' if replayed else ''}"
            )
            if replayed:
                say(f"  first client got: {shown(first.answer.body)}")
                say(f" second client got: {shown(second.answer.body)}")
        if not seen:
            raise NotExercisedError("No first request reached a provider.")
        if wrong:
            say("  An official client takes it for its own answer: nothing raises.")
        return wrong

    return any_cell(lab, trial)


def _twice(lab: Lab, cell: dict[str, Any], how: str) -> tuple[Asked, Asked] | None:
    """Both requests; None where the first reached no provider."""

    def fails(answer: Answer) -> None:
        if how == "an error" or (how == "a cut stream" and not answer.call.stream):
            answer.fail("error")
        elif how == "a cut stream":
            answer.fail("cut")
        else:
            answer.whole()

    lab.answer_with(fails)
    limit = "max_output_tokens" if spoken_at(cell["path"]) == "responses" else "max_tokens"
    first = sent(lab, Asked(cell, {limit: 5, "temperature": 0}))
    if not first.calls:
        return None
    changed = {"max_tokens": {limit: 500}, "temperature": {"temperature": 1}}
    fields = {limit: 5, "temperature": 0} | changed.get(how, {})
    before = len(first.calls)
    lab.answer_with(lambda answer: answer.whole())
    second = sent(lab, Asked(cell, fields, number=first.number))
    second.calls = second.calls[before:]
    return first, second
