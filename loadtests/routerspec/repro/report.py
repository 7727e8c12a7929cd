"""The report of one violation: Markdown, ready to paste into somebody's tracker.

Decides the words. Refuses to know how the violation was found.
"""

from __future__ import annotations

from routerspec.checks import REGISTRY
from routerspec.run import RecordedRun
from routerspec.verdict import CheckResult


def report_of(recorded: RecordedRun, result: CheckResult, *, script: bool) -> str:
    """The Markdown of one violation; ``script``: there is one beside it."""
    check, info = REGISTRY[result.id], recorded.info
    assert result.witness is not None
    facts = "\n".join(f"- {fact}" for fact in result.witness.facts)
    again = f"`routerspec verify {info.target} --only {result.id} --seed {info.seed}`"
    if script:
        again = "`python repro.py`: standard library alone, ends with status 1 when it is seen."
    return f"""# {info.target} {info.version}: {result.summary}

**Promised.** {check.promised}

**Seen.** {result.witness.sentence}

{facts}

**How it is proved.** {check.proved}

**To see it again.** {again}

**Versions.** {info.target} {info.version}; routerspec {info.routerspec}; run of {info.started_at}:
`{info.command}`, seed {info.seed}.

**How routers get it right.** {check.fix}
"""
