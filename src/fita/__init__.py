"""FITA: microcontroller devices as ordinary nodes of a Kubernetes cluster."""

__version__ = "0.1.0"
