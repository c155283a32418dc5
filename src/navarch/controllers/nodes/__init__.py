"""Nodes: addresses, taints, silence, eviction."""
