"""Transactions to the kernel's nftables.

libnftables is called in the process (0.5 ms for a small change; starting the `nft` program costs 9 ms), in a thread, since it
blocks and drops Python's lock. Where the library is not found, the program does it. Either way a transaction is text, and it
happens whole or not at all.

Upstream counterpart: sigs.k8s.io/knftables.
"""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import shutil
import subprocess


class Failed(Exception):
    """The kernel or the parser refused a transaction; nothing of it happened."""


class Missing(Exception):
    """This machine has neither libnftables nor the nft program."""


class Nft:
    """A door to nftables in the network namespace of the process. One transaction at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._library = _load()
        self._context: int | None = None
        if self._library is None and shutil.which("nft") is None:
            raise Missing("nftables is not installed: neither libnftables nor the nft program was found")

    async def run(self, transaction: str) -> None:
        """Performs a transaction. Raises Failed with nft's own words."""
        if not transaction:
            return
        async with self._lock:
            await asyncio.to_thread(self.run_now, transaction)

    def run_now(self, transaction: str) -> None:
        """The same, blocking."""
        if self._library is None:
            _run_program(transaction)
            return
        library = self._library
        if self._context is None:
            self._context = library.nft_ctx_new(0)
            library.nft_ctx_buffer_error(self._context)
            library.nft_ctx_buffer_output(self._context)
        if library.nft_run_cmd_from_buffer(self._context, transaction.encode()):
            raise Failed(_words(library.nft_ctx_get_error_buffer(self._context)))


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(ctypes.util.find_library("nftables") or "libnftables.so.1")
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _run_program(transaction: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=transaction.encode(), capture_output=True, check=False)
    if done.returncode:
        raise Failed(_words(done.stderr))


def _words(text: bytes | None) -> str:
    """The error lines without the echoed transaction, which may be megabytes."""
    lines = [line for line in (text or b"").decode(errors="replace").splitlines() if "Error" in line]
    return "; ".join(lines[:5]) or "nft failed without a word"
