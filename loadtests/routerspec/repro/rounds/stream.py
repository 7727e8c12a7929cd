"""A stream that the provider cuts short: what does the router tell its client?

It may pass on what it has and break off, or tell of the error. It must not call it finished, and
it must not go on with the answer of a second attempt.
"""

from __future__ import annotations

from typing import Any

from routerspec.repro.kit import Answer, Client, Lab, pieces_in, say


def show(lab: Lab) -> bool:
    """True when a client got what no provider said: a finish, or two attempts as one answer."""
    seen = [
        _cut(lab, route, mode, how)
        for route, mode in lab.told["cells"]
        for how in ("reset", "close", "clean end")
    ]
    return any(seen)


def _cut(lab: Lab, route: dict[str, Any], mode: str, how: str) -> bool:
    once = lab.told["how"] == "begun anew"

    def cut(answer: Answer) -> None:
        if not answer.call.stream or answer.call.embeds or (once and answer.call.attempt > 1):
            answer.whole()
            return
        answer.pieces(2)
        if how == "reset":
            answer.reset()
        elif how == "clean end":
            answer.end()
        else:
            answer.close()

    lab.answer_with(cut)
    client = lab.client(route, mode).ask()
    client.over.wait(30)
    wrong = (_mixed if once else _called_finished)(lab, client)
    say(
        f"{route['name']}: the provider ended its stream after two pieces by a {how}; the client "
        f"got {pieces_in(client.text)} and {client.text[-60:]!r}: {wrong or 'as it should be'}"
    )
    return bool(wrong)


def _called_finished(lab: Lab, client: Client) -> str:
    streams = [call for call in lab.calls_of(client) if call.stream and not call.embeds]
    excused = client.told_of_error or not streams or any(call.finished for call in streams)
    return "" if excused or not client.finished else "CALLED FINISHED"


def _mixed(_lab: Lab, client: Client) -> str:
    attempts = {attempt for _, attempt, _ in pieces_in(client.text)}
    return "" if client.told_of_error or len(attempts) < 2 else "TWO ATTEMPTS IN ONE ANSWER"
