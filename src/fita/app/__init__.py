"""Composition root: settings, wiring, the root TaskGroup and signals. Nothing below imports it."""
