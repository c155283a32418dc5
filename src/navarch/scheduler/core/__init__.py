"""Decisions over columns: pure, deterministic, all nodes at once."""
