"""What the router offers, one module a route: each makes a job of a request's body."""
