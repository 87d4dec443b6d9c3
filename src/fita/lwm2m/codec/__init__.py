"""Payloads to values and back, one file per content format. No I/O, no knowledge of devices."""
