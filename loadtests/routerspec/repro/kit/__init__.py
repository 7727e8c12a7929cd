"""What rounds are made of: ``providers``, ``clients``, ``lab``, each using only those before it.

Python's standard library only: scripts carry the parts that they use.
"""
