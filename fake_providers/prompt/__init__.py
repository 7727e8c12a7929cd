"""What a request asks of the fake: the token in its prompt, behaviours, rules.

Decides what a directive may say. Refuses to know how it is carried out.
"""
