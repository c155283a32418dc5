"""Static pods: manifests in a folder, run by this node alone, and shown in the API as mirror pods.

In: YAML or JSON files. Out: pods for the kubelet (with a uid made from their content), and a mirror of each in the API. Upstream's
counterparts: pkg/kubelet/config/file.go and the mirror client.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import pathlib
from collections.abc import Callable

import msgspec

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.informer import Informer
from navarch.client.rest import Client, Unreachable
from navarch.machinery import codec, errors

log = logging.getLogger(__name__)

MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"
SOURCE = "kubernetes.io/config.source"
LOOK_EVERY = 2.0


def is_mirror(pod: v1.Pod) -> bool:
    """Whether an API object only shows a static pod."""
    return MIRROR in ((pod.metadata and pod.metadata.annotations) or {})


def mirrored(pod: v1.Pod) -> str:
    """The uid of the static pod that a mirror shows."""
    return ((pod.metadata and pod.metadata.annotations) or {}).get(MIRROR, "")


def is_static(pod: v1.Pod) -> bool:
    """Whether a pod came from a manifest on this node."""
    return ((pod.metadata and pod.metadata.annotations) or {}).get(SOURCE) == "file"


def parse(data: bytes, node: str) -> v1.Pod:
    """The pod of a manifest, named and marked as static pods are. DecodeError when it is none."""
    pod = codec.from_tree(v1.Pod, codec.from_yaml(data))
    digest = hashlib.md5(data + node.encode(), usedforsecurity=False).hexdigest()
    meta = pod.metadata or meta_v1.ObjectMeta()
    meta.name = f"{meta.name}-{node}"
    meta.namespace = meta.namespace or "default"
    meta.uid = digest
    meta.annotations = {**(meta.annotations or {}), HASH: digest, SOURCE: "file"}
    spec = pod.spec or v1.PodSpec()
    spec.nodeName = node
    spec.restartPolicy = spec.restartPolicy or "Always"
    spec.terminationGracePeriodSeconds = 30 if spec.terminationGracePeriodSeconds is None else spec.terminationGracePeriodSeconds
    spec.enableServiceLinks = True if spec.enableServiceLinks is None else spec.enableServiceLinks
    tolerates = v1.Toleration(operator="Exists", effect="NoExecute")
    spec.tolerations = [*(spec.tolerations or ()), tolerates]
    for container in (*(spec.initContainers or ()), *(spec.containers or ())):
        container.terminationMessagePath = container.terminationMessagePath or "/dev/termination-log"
        container.terminationMessagePolicy = container.terminationMessagePolicy or "File"
        container.imagePullPolicy = container.imagePullPolicy or "IfNotPresent"
    pod.metadata, pod.spec, pod.apiVersion, pod.kind = meta, spec, "v1", "Pod"
    return pod


class Source:
    """The watched folder."""

    def __init__(
        self,
        folder: pathlib.Path,
        node: str,
        client: Client,
        update: Callable[[v1.Pod], None],
        remove: Callable[[str], None],
        mirrors: Informer[v1.Pod],
        nodes: Informer[v1.Node],
    ) -> None:
        self._folder = folder
        self._node = node
        self._client = client
        self._update = update
        self._remove = remove
        self._mirrors = mirrors
        self._nodes = nodes
        self._pods: dict[str, v1.Pod] = {}

    async def run(self) -> None:
        """Looks at the folder for ever."""
        while True:
            found = self._read()
            for path, pod in self._pods.items():
                if path not in found or _uid(found[path]) != _uid(pod):
                    self._remove(_uid(pod))
            for path, pod in found.items():
                if path not in self._pods or _uid(self._pods[path]) != _uid(pod):
                    self._update(pod)
            self._pods = found
            await self._mirror()
            await asyncio.sleep(LOOK_EVERY)

    def _read(self) -> dict[str, v1.Pod]:
        found = {}
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if path.suffix not in (".yaml", ".yml", ".json") or path.name.startswith("."):
                continue
            try:
                found[str(path)] = parse(path.read_bytes(), self._node)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.error("static pod %s: %s", path.name, error)
        return found

    async def _mirror(self) -> None:
        wanted = {((p.metadata and p.metadata.namespace) or "", (p.metadata and p.metadata.name) or ""): p for p in self._pods.values()}
        for held in self._mirrors.list():
            meta = held.metadata
            if meta is None or not is_mirror(held):
                continue
            pod = wanted.pop((meta.namespace or "", meta.name or ""), None)
            same = pod is not None and (meta.annotations or {}).get(MIRROR) == _uid(pod)
            if same and not meta.deletionTimestamp:
                continue
            try:
                await self._client.delete(v1.Pod, meta.name or "", meta.namespace or "", uid=meta.uid, grace=0)
            except (errors.ApiError, Unreachable) as error:
                log.debug("mirror pod %s: %s", meta.name, error)
        for pod in wanted.values():
            await self._create_mirror(pod)

    async def _create_mirror(self, pod: v1.Pod) -> None:
        """Shows a static pod in the API, as the node's: nobody takes a mirror from a node that has not registered."""
        held, node = pod.metadata, self._nodes.get(self._node)
        assert held is not None
        if node is None or node.metadata is None:
            return
        owner = meta_v1.OwnerReference(apiVersion="v1", kind="Node", name=self._node, uid=node.metadata.uid, controller=True)
        annotations = {**(held.annotations or {}), MIRROR: held.uid or ""}
        meta = meta_v1.ObjectMeta(name=held.name, namespace=held.namespace, labels=held.labels, annotations=annotations, ownerReferences=[owner])
        mirror = v1.Pod(apiVersion="v1", kind="Pod", metadata=meta, spec=pod.spec)
        try:
            await self._client.create(mirror)
        except (errors.ApiError, Unreachable) as error:
            log.debug("mirror pod %s: %s", held.name, error)


def _uid(pod: v1.Pod) -> str:
    return (pod.metadata and pod.metadata.uid) or ""
