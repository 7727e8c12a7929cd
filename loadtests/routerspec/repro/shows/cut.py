"""A stream that the provider cuts short: does the router tell its client that it is whole?"""

from __future__ import annotations

from routerspec.repro.kit import Answer, Lab, say


def show(lab: Lab) -> bool:
    """True when a client was told of a finish that no provider had sent."""
    seen = [_cut(lab, how) for how in ("reset", "close", "clean end")]
    return any(seen)


def _cut(lab: Lab, how: str) -> bool:
    def cut(answer: Answer) -> None:
        if not answer.call.stream or "embed" in answer.call.path:
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
    told = False
    for route, mode in lab.told["cells"]:
        if mode != "stream":
            continue
        client = lab.client(route, mode).ask()
        client.over.wait(30)
        told = told or client.finished
        say(
            f"{route['name']}: the provider ended its stream after two pieces by a {how}; the "
            f"client got {client.text[-60:]!r}, "
            f"{'WITH a finish marker' if client.finished else 'with no finish marker'}"
        )
    return told
