"""The rounds that reproduce violations, by their shape.

A round returns True when it reproduces the violation. Where the situation did not come about it
raises NotExercisedError and never returns False. A script carries one round and what that uses.
"""
