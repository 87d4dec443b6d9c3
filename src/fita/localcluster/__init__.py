"""A real Kubernetes on this machine, in one process: compiled once, given its certificates, started and kept running."""
