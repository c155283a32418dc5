"""Work that was given up where others wait, to be done again where nobody does."""

from __future__ import annotations


class Impatient(Exception):
    """The work takes longer than it may where it was begun. It has changed nothing."""
