"""Plain Locust: the locustfile, its arrivals, its verdict and its page in the web UI."""
