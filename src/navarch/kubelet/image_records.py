"""What the kubelet remembers of the images it pulled, in files under `image_manager/`, in upstream's form.

Before a pull an intent is written, so that an image whose pull ended while the kubelet was dead still counts as pulled by it: with
nobody's credentials known, every pod has to show its own. Upstream's counterpart is pkg/kubelet/images/pullmanager's fs_pullrecords.go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pathlib
import time
from collections.abc import Collection, Iterator
from typing import Any

from navarch.kubelet.core.image_access import Access, Pulled, Secret
from navarch.machinery import timestamps

log = logging.getLogger(__name__)

VERSION = "kubelet.config.k8s.io/v1beta1"


class Records:
    """The files. Each is small, and a pull takes long: they are read and written as needed."""

    def __init__(self, root: pathlib.Path) -> None:
        self._pulling, self._pulled = root / "image_manager" / "pulling", root / "image_manager" / "pulled"
        for folder in (self._pulling, self._pulled):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def intend(self, image: str) -> None:
        """Notes that an image is about to be pulled. OSError when it cannot be noted: then it must not be pulled."""
        _write(self._pulling, image, {"kind": "ImagePullIntent", "apiVersion": VERSION, "image": image})

    def intended(self, image: str) -> bool:
        return (self._pulling / _name(image)).exists()

    def intents(self) -> list[str]:
        """Images of pulls that have not ended, as far as is known."""
        return [str(held["image"]) for held in _all(self._pulling) if "image" in held]

    def settle(self, image: str) -> None:
        """Notes that no pull of an image is under way."""
        (self._pulling / _name(image)).unlink(missing_ok=True)

    def get(self, image_ref: str) -> Pulled | None:
        """The record of an image by its id; one that cannot be read knows nobody's access."""
        path = self._pulled / _name(image_ref)
        try:
            return _record(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.error("cannot read the record of image %s in %s: %s", image_ref, path, error)
            return Pulled(image_ref)

    def put(self, record: Pulled) -> None:
        mapping: dict[str, Any] = {}
        for image, access in record.access.items():
            secrets = [{"uid": s.uid, "namespace": s.namespace, "name": s.name, "credentialHash": s.hash} for s in access.secrets]
            mapping[image] = {"nodePodsAccessible": True} if access.everybody else {"kubernetesSecrets": secrets}
        stamp = timestamps.seconds(time.time())
        body = {"kind": "ImagePulledRecord", "apiVersion": VERSION, "lastUpdatedTime": stamp, "imageRef": record.image_ref}
        _write(self._pulled, record.image_ref, {**body, "credentialMapping": mapping})

    def prune(self, kept: Collection[str], before: float) -> None:
        """Forgets images that are no longer on the node, unless they were pulled since `before` (seconds since the epoch)."""
        for held in _all(self._pulled):
            image_ref = held.get("imageRef", "")
            if image_ref not in kept and timestamps.parse(held.get("lastUpdatedTime", "")) < before:
                (self._pulled / _name(image_ref)).unlink(missing_ok=True)


def _record(held: dict[str, Any]) -> Pulled:
    access = {}
    for image, known in held["credentialMapping"].items():
        secrets = (Secret(s["namespace"], s["name"], s["uid"], s["credentialHash"]) for s in known.get("kubernetesSecrets", ()))
        access[image] = Access(bool(known.get("nodePodsAccessible")), tuple(secrets))
    return Pulled(held["imageRef"], access)


def _name(key: str) -> str:
    return f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"


def _all(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("sha256-*")):
        if path.suffix != ".tmp":
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_text())


def _write(folder: pathlib.Path, key: str, body: dict[str, Any]) -> None:
    path = folder / _name(key)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(body))
    temporary.rename(path)
