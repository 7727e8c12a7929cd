"""The slots: all of them are used, and every one comes back."""

from routerspec.checks.slots import cap_of_one, handover, reached, return_after

CHECKS = (
    reached.REACHED,
    handover.HANDOVER,
    *return_after.RETURN_AFTER,
    cap_of_one.CAP_OF_ONE,
    handover.ORDER,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
