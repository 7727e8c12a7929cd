"""One verification of a router: starts, scenarios, history, and only then the verdict."""
