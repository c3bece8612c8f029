"""Kernel sets: what computes. No checks and no user documentation in here; README.md holds the contract."""
