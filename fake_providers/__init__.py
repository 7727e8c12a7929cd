"""Fake model servers, slow and scriptable, that record every call they receive.

Their records are the ground truth of a run. They know nothing of routers or of load generators.

    with fake_providers.running(ledger=Path("evidence.jsonl"), run="k3f9az") as fakes:
        ...  # fakes.openai_url, fakes.ollama_url, fakes.control_url
"""

from fake_providers.process import Fakes, FakesFailed, running

__all__ = ["Fakes", "FakesFailed", "running"]
