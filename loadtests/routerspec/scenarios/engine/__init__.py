"""The engine of all scenarios: session, conductor, rounds, and one exchange on the wire."""
