"""What controllers share: the client, informers with their indexes, the event recorder, settings and the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from navarch.api.scalars import Object
from navarch.client.discovery import Discovery
from navarch.client.events import Recorder
from navarch.client.index import Handle, Indexer
from navarch.client.informer import Informer
from navarch.client.rest import Client
from navarch.lib import tasks

T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Settings:
    """What controllers read of the flags."""

    root_ca: str = ""
    """The API server's authority, PEM."""
    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask_size: int = 0
    """Bits; 0 is 24 for IPv4 and 64 for IPv6."""
    terminated_pod_gc_threshold: int = 12500
    """Finished pods that are kept; 0 keeps all."""
    service_cluster_ip_range: str = ""
    """Ranges of Services' addresses, by comma: no node gets any of them."""
    cluster_signing_cert_file: str = ""
    cluster_signing_key_file: str = ""
    """What signs certificate requests; "" leaves them to others."""
    cluster_signing_duration: float = 365 * 86400.0


class Context:
    """One for all controllers of a process."""

    def __init__(self, client: Client, recorder: Recorder, settings: Settings | None = None) -> None:
        self.client = client
        self.recorder = recorder
        self.settings = settings if settings is not None else Settings()
        self.clock = client.clock
        self.discovery = Discovery(client)
        self._informers: dict[type[Object], Informer[Any]] = {}

    def informer(self, kind: type[T]) -> Informer[T]:
        """The informer of a kind, one for all controllers."""
        found = self._informers.get(kind)
        if found is None:
            found = self._informers[kind] = Informer(self.client, kind)
        return found

    def index(self, kind: type[T], name: str, indexer: Indexer[T]) -> Handle[T]:
        """An index of a kind's informer, shared by all who ask for the same. ValueError when the name means another function."""
        return self.informer(kind).index(name, indexer)

    async def run(self, group: tasks.Group) -> None:
        """Starts all informers and waits until each has its first list."""
        for kind, informer in self._informers.items():
            group.start(f"informer {kind.__name__}", informer.run())
        for informer in self._informers.values():
            await informer.synced.wait()

    def now(self) -> float:
        """Seconds since the epoch: for what is written into objects."""
        return self.clock.now()

    def monotonic(self) -> float:
        """Seconds that never jump: for how long something lasts."""
        return self.clock.monotonic()
