"""The messages of a run over those of Locust."""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from locust.env import Environment
from locust.runners import DistributedRunner, MasterRunner

from routerspec.scenarios.engine.messages import Handlers, Message, decode, encode

_TYPE: Final = "routerspec"


class LocustLink(Handlers):
    """From a master to its workers, or from a worker to its master."""

    def __init__(self, runner: DistributedRunner) -> None:
        super().__init__()
        self._runner = runner
        self.leads = isinstance(runner, MasterRunner)
        runner.register_message(_TYPE, self._received)

    def send(self, message: Message, to: str = "") -> None:
        """See ``Link.send``."""
        self._runner.send_message(_TYPE, encode(message), client_id=to or None)

    def _received(self, environment: Environment, msg: Any) -> None:
        del environment
        try:
            message = decode(msg.data)
        except (msgspec.MsgspecError, TypeError) as error:
            print(f"routerspec: a message that cannot be read: {error}", file=sys.stderr)  # noqa: T201
            return
        self.handle(message, msg.node_id if self.leads else "")
