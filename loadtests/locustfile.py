"""Plain Locust against a router that runs already, with the fakes behind it.

locust -f loadtests/locustfile.py --web-host 127.0.0.1 --host http://127.0.0.1:8080 \
        --rs-fakes http://127.0.0.1:8002 --rs-cap 5 --rs-models-ttl 30
"""

from routerspec.scenarios.locust.locustfile import RouterUser

__all__ = ["RouterUser"]
