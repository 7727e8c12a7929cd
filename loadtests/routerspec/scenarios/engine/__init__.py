"""What every scenario stands on: the conductor, its rounds, and one exchange on the wire."""
