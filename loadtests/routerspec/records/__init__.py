"""The files of a run, written and read.

Decides the shape of every record but the evidence, which the fakes own. Judges nothing.
"""
