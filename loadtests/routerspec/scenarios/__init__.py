"""The load: Locust users, the requests they make and the conductor that leads them.

Runs in a Locust process only (importing Locust patches the interpreter); what it observes
goes to ``observations.jsonl``. It judges nothing.
"""
