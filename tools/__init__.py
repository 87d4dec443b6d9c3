"""Checks of this repository that no public tool makes."""
