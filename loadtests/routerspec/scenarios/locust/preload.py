"""What a load process imports, for a process that load processes are forked from.

The locustfile itself is not imported: its listeners register as it is.
"""

from __future__ import annotations

import gevent
import locust.main

from routerspec.plan import load_keys
from routerspec.scenarios import preflight
from routerspec.scenarios.engine.registry import all_scenarios
from routerspec.scenarios.locust import options, web_tab

__all__ = ["load_keys", "locust", "options", "preflight", "web_tab"]

all_scenarios()
# urllib3 opens a socket as it is imported, for which gevent starts a loop: not one to share.
gevent.get_hub().destroy(destroy_loop=True)
