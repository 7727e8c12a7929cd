"""The load: Locust users, the requests they make and the conductor that leads them.

Runs in a Locust process only (importing Locust patches the interpreter); everything it finds out
goes to ``observations.jsonl``. It judges nothing.
"""
