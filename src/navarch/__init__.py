"""Navarch: Kubernetes, written in Python."""

__version__ = "0.1.0"
KUBERNETES_VERSION = "v1.36.2"
"""The Kubernetes release whose API this is, as `/version` reports it."""
