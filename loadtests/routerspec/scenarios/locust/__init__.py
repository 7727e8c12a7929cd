"""Plain Locust: the locustfile, its arrivals, its verdict and its tab in the web UI."""
