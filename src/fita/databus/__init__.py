"""The data bus: the latest value of every output, given on over HTTP, server-sent events and Prometheus.

It keeps values in memory only; after a restart they are observed again from the devices.
"""
