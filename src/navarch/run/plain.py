"""Failures with a plain cause: their message is all that a user needs, so they are shown without a traceback."""

from __future__ import annotations

NAMES = frozenset(
    {
        "Unfit",
        "Missing",
        "PluginsMissing",
        "RuntimeMissing",
        "BinaryMissing",
        "ImportFailed",
        "StoreCorrupt",
        "StoreUnavailable",
        "StoreFull",
        "StoreLocked",
        "StoreLost",
        "StoreFailed",
        "StoreTooNew",
        "LeadLost",
        "Unreachable",
        "KubeconfigError",
        "PluginFailed",
        "Unacceptable",
    }
)
"""By name, so that nothing has to be imported to tell."""


def is_plain(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error) is ValueError or type(error).__name__ in NAMES or type(error).__name__ == "FlagError"
