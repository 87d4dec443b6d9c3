"""A real Kubernetes on this machine, in one process: compiled once, given certificates, started, kept running."""
