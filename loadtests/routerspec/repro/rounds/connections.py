"""Rounds on HTTP itself: what a router makes of requests, connections and lengths."""

from __future__ import annotations

import re
import time
import zlib
from typing import Any
from urllib.parse import quote

from routerspec.repro.kit.clients import label, streams
from routerspec.repro.kit.compare import (
    Asked,
    answer_probe,
    calls_for,
    head,
    own,
    sent,
    shown,
)
from routerspec.repro.kit.lab import Lab, NotExercisedError, any_cell, say, wait_until
from routerspec.repro.kit.providers import json_object
from routerspec.repro.kit.raw import Connection, Response
from routerspec.repro.kit.spoken import is_ollama

FORMS = (
    "as usual", "in chunks", "Expect: 100-continue", "Connection: close", "HTTP/1.0", "?a=b", "/",
)  # fmt: skip
AT_THE_ROUTER = (500, 502, 504)
FIRSTS = ("answered", "without a key", "no JSON", "unknown model", "provider's error")


def sound_http(lab: Lab) -> bool:
    """Send requests in the forms that HTTP allows, and read the answers strictly by it.

    True when an answer breaks HTTP, has another type or coding than it says, or has no end; or when
    a form fails at the router, which as usual it does not. The model list is requested as HEAD, and
    an id with a slash in every spelling: true when the path is decoded twice, too.
    """
    lab.answer_with(lambda answer: answer_probe(answer, lab.settings["probes"][0]))

    def trial(cell: dict[str, Any]) -> bool:
        wrong = False
        for form in FORMS:
            asked, line = _in_form(lab, cell, form)
            found = _faults(asked, line, form)
            line.close()
            if form == FORMS[0] and not asked.calls:
                raise NotExercisedError(f"No call reached a provider: {asked.answer.outcome}.")
            wrong = wrong or bool(found)
            say(f"{label(cell)}, {form}: {asked.answer.outcome}: {found or 'sound'}")
            if found:
                say(f"     client got: {shown(asked.answer.head + asked.answer.body)}")
        if wrong:
            say("  httpx, and openai-python with it, raises, or waits for what does not come.")
        return wrong

    listed = _list_faults(lab)
    try:
        return any_cell(lab, trial) or listed
    except NotExercisedError:
        if listed:
            return True
        raise


def _list_faults(lab: Lab) -> bool:
    """Something is wrong with the answers about the model list."""
    path, wrong = lab.settings["list_path"], False
    usual, _ = _list_answer(lab, "GET", path)
    if not usual.succeeded:
        return False
    names = [str(name) for name in re.findall(r'"id": *"([^"]+)"', usual.body.decode())]
    names = [name for name in names if "-epoch-" not in name]
    name = next((name for name in names if "/" in name), "")
    once = quote(name, safe="")
    spellings = [quote(name, safe="/:"), once, quote(once)] if name else []
    for method, target in [("HEAD", path), *(("GET", f"{path}/{each}") for each in spellings)]:
        answer, surplus = _list_answer(lab, method, target)
        found = answer.fault or answer.failure
        if answer.status in AT_THE_ROUTER:
            found = found or "it fails at the router"
        if method == "GET" and surplus:
            found = found or f"more bytes after the end: {shown(surplus)}"
        if "%25" in target and answer.succeeded and json_object(answer.body).get("id") == name:
            found = found or f"the path is decoded twice: it finds {name}"
        wrong = wrong or bool(found)
        say(f"{method} {target}: {answer.outcome}: {found or 'sound'}")
    return wrong


def _list_answer(lab: Lab, method: str, target: str) -> tuple[Response, bytes]:
    """The answer, and what came after it; a failure is tried once more."""
    for _ in range(2):
        line = Connection(lab.url)
        its = {"Host": line.host, "Accept-Encoding": "identity", **lab.headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {its[name]}" for name in its)]
        line.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = line.read(method, within_s=10)
        surplus = line.surplus()
        line.close()
        if not answer.failure and answer.status not in AT_THE_ROUTER:
            break
    return answer, surplus


def _in_form(lab: Lab, cell: dict[str, Any], form: str) -> tuple[Asked, Connection]:
    """The request in this form, and the connection that its answer was read on."""
    asked, line = Asked(cell, {}), Connection(lab.url)
    if form in ("?a=b", "/"):
        asked.cell = {**cell, "path": cell["path"] + form}
    headers = {"Connection": "close"} if form == "Connection: close" else {}
    headers |= {"Expect": "100-continue"} if form.startswith("Expect") else {}
    its_head, its_body = head(lab, asked, line.host, headers), asked.body
    if form == "HTTP/1.0":
        its_head = its_head.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    if form == "in chunks":
        length = b"Content-Length: %d" % len(its_body)
        its_head = its_head.replace(length, b"Transfer-Encoding: chunked")
        parts = its_body[:50], its_body[50:]
        its_body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    line.write(its_head)
    if form.startswith("Expect"):
        time.sleep(0.3)
    line.write(its_body)
    line.read(within_s=10, into=asked.answer)
    wait_until(lambda: not any(call.open for call in calls_for(lab, asked)), within_s=1)
    asked.calls = calls_for(lab, asked)
    return asked, line


def _faults(asked: Asked, line: Connection, form: str) -> str:
    """What is wrong with the answer; empty: nothing."""
    answer, cell = asked.answer, asked.cell
    if answer.fault or not asked.calls:
        failed = (*AT_THE_ROUTER, *((400, 404, 405, 415, 422) if form == "in chunks" else ()))
        return answer.fault or "it fails at the router" * (answer.status in failed)
    if not asked.calls[-1].finished or answer.status != 200:
        return ""
    if answer.failure:
        return answer.failure
    if len(surplus := line.surplus()) > 2:
        return f"more bytes after the end: {shown(surplus)}"
    return _mislabelled(answer, streamed=streams(cell) and not is_ollama(cell["path"]))


def _mislabelled(answer: Response, *, streamed: bool) -> str:
    """In what the answer is not what its headers say."""
    kind, coding = answer.header("content-type"), answer.header("content-encoding").lower()
    if answer.body[:2] == b"\x1f\x8b" and not coding:
        return "the body is gzip, and no Content-Encoding says so"
    if coding in ("gzip", "deflate"):
        try:
            zlib.decompress(answer.body, 47)
        except zlib.error:
            return f"Content-Encoding: {coding}, and the body is not"
        return f"Content-Encoding: {coding}, and the client accepts identity only"
    if kind and streamed != kind.startswith("text/event-stream"):
        return f"Content-Type: {kind}"
    return ""


def own_next_answer(lab: Lab) -> bool:
    """Send two requests on one connection, the first of which is refused, fails or is answered.

    True when the second does not get its own answer, twice; one that the router has closed is no
    violation. Then providers close idle connections: true when two requests fail without a call.
    """

    def trial(cell: dict[str, Any]) -> bool:
        wrong, second = False, 0
        for first in FIRSTS:
            got = [_second_answer(lab, cell, first) for _ in range(2)]
            if None in got:
                say(f"{label(cell)}, first {first}: the router closes the connection")
                continue
            asked = [each for each in got if each]
            second += sum(own(each) for each in asked)
            bad = not any(own(each) or each.calls for each in asked)
            said = shown(asked[0].answer.head.split(b"\r\n")[0] + b" ... " + asked[0].answer.body)
            say(f"{label(cell)}, first {first}: second {'got: ' + said if bad else 'got its own'}")
            wrong = wrong or bad
        if not second and not lab.calls:
            raise NotExercisedError("No request reached a provider.")
        if wrong:
            say("  httpx keeps connections: openai-python gives this answer to the next request.")
        return wrong or _idle_closed(lab, cell)

    return any_cell(lab, trial)


def _second_answer(lab: Lab, cell: dict[str, Any], first: str) -> Asked | None:
    """The second request on a connection; None where the router closed it."""
    good = {**cell, "headers": dict(cell["headers"])}
    asked = Asked(good, {"model": "no-such-model"} if first == "unknown model" else {})
    line = Connection(lab.url)
    lab.answer_with(lambda answer: answer.error(500) if "error" in first else answer.whole())
    its_head = head(lab, asked, line.host, {})
    if first == "without a key":
        lines = its_head.split(b"\r\n")
        its_head = b"\r\n".join(
            x for x in lines if not x.lower().startswith((b"authorization:", b"x-api-key:"))
        )
    its_body = asked.body if first != "no JSON" else b"{" * len(asked.body)
    line.write(its_head + its_body)
    answer = line.read()
    closes = "close" in answer.header("connection").lower() or answer.framing == "close"
    closes = closes or (line.closed(0.05) and not line.surplus(0))
    if not answer.status or answer.failure or closes:
        line.close()
        return None
    lab.answer_with(lambda answer: answer.whole())
    second = sent(lab, Asked(good, {}), on=line)
    line.close()
    return second if second.answer.status or second.answer.fault else None


def _idle_closed(lab: Lab, cell: dict[str, Any]) -> bool:
    """Providers close connections that are idle for 0.1 s, and a request comes every 0.4 s."""
    for provider in lab.providers:
        provider.keep_s = 0.1
    asked = []
    for _ in range(6):
        asked.append(sent(lab, Asked(cell, {})))
        time.sleep(0.4)
    for provider in lab.providers:
        provider.keep_s = None
    failed = [each for each in asked if (each.answer.status or 0) >= 500 and not each.calls]
    for each in failed[:2]:
        say(f"client got: {each.answer.outcome}: {shown(each.answer.body)}; no call")
    served = sum(bool(each.calls) for each in asked)
    say(f"{label(cell)}, idle connections closed: {served} of 6 served, {len(failed)} failed")
    return len(failed) >= 2 and served > 0
