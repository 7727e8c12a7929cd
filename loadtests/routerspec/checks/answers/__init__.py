"""The answers: each client gets its own, whole, as it is made, and errors as errors."""
