"""What rounds are made of: ``providers``, ``raw``, ``dialects``, ``clients``, ``lab``, ``compare``.

Each uses only those before it.

Python's standard library only: scripts carry the parts that they use.
"""
