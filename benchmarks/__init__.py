"""Measurements: ``python -m benchmarks.<name>`` prints a table, with --json one JSON object."""
