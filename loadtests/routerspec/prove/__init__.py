"""Every deliberate defect of the reference router against the checks."""
