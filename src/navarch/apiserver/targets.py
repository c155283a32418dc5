"""Where requests go on to, and what becomes of what is answered there."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from navarch.machinery import errors

Refusal = Callable[[int, str], errors.ApiError]
"""The error to raise for an answer that is none of success, from its code and words."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str = ""
    """The name or address the certificate must be for, when it is not `host`."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"
