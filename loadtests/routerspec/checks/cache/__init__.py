"""A cache of answers: whose answer is shown to whom, and which is kept."""

from routerspec.checks.cache import answers

CHECKS = (answers.ANSWERS,)
"""In the order in which they are listed and reported; one that is missing here comes last."""
