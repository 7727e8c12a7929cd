"""What rounds are made of.

``spoken``, ``anthropic``, ``responses``, ``providers``, ``raw``, ``dialects``, ``clients``,
``lab``, ``compare``: each uses only those before it.

Python's standard library only: scripts carry the parts that they use.
"""
