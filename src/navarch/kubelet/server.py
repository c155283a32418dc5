"""placeholder until the server lands"""

from __future__ import annotations

from typing import Any


class Server:
    def __init__(self, kubelet: Any) -> None:
        self.kubelet = kubelet

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None
