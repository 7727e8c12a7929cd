"""Mutation tests of the checks: every seeded defect of the reference router against them."""
