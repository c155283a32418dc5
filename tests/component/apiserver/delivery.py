"""An application controller in the style of Argo CD's, as a program of its own on `navarch.client`.

An Application (a custom resource) holds manifests. The controller applies each of them by server-side apply with force, as one field
manager; deletes what carries the application's label and is not among them any more; and says in the Application's status what is in
sync: by an apply as a dry run, whose answer is compared with what there is. With `selfHeal` it puts right what others change.
"""

from __future__ import annotations

import json
from typing import Any

from navarch.client.rest import PATCH_TYPES, Client
from navarch.lib.clock import Clock
from navarch.machinery import errors

GROUP, VERSION = "delivered.example.com", "v1alpha1"
MANAGER, LABEL = "application-controller", "delivered.example.com/instance"
Tree = dict[str, Any]

OBJECT = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
RESOURCE = {
    "type": "object",
    "required": ["kind", "name"],
    "properties": {key: {"type": "string"} for key in ("group", "version", "kind", "name", "status", "message")},
}
SPEC = {
    "type": "object",
    "properties": {
        "manifests": {"type": "array", "items": OBJECT, "x-kubernetes-list-type": "atomic"},
        "prune": {"type": "boolean", "default": True},
        "selfHeal": {"type": "boolean", "default": True},
    },
}
STATUS = {
    "type": "object",
    "properties": {
        "sync": {"type": "object", "properties": {"status": {"type": "string", "enum": ["Synced", "OutOfSync"]}}},
        "observedGeneration": {"type": "integer", "format": "int64"},
        "resources": {"type": "array", "items": RESOURCE, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kind", "name"]},
    },
}
SCHEMA = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}


class Controller:
    """Brings the applications of a namespace to what their manifests say."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._found: dict[tuple[str, str], tuple[str, bool]] = {}
        """By apiVersion and kind: the plural, and whether it is namespaced."""
        self._applications = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/applications"

    async def run(self, clock: Clock) -> None:
        while True:
            for application in (await self._read(self._applications))["items"]:
                await self._report(application, await self._sync(application))
            await clock.sleep(0.05)

    # ---- one application -------------------------------------------------------------------------------------------

    async def _sync(self, application: Tree) -> list[Tree]:
        """What is to be said of each resource after it was brought where it should be."""
        name, spec = application["metadata"]["name"], application["spec"]
        wanted = [self._labelled(manifest, name) for manifest in spec.get("manifests", [])]
        new = application["metadata"]["generation"] != application.get("status", {}).get("observedGeneration")
        said: list[Tree] = []
        for manifest in wanted:
            try:
                if (new or spec["selfHeal"]) and await self._differs(manifest):
                    await self._apply(manifest)
                said.append(_entry(manifest, "OutOfSync" if await self._differs(manifest) else "Synced"))
            except errors.ApiError as error:
                said.append(_entry(manifest, "OutOfSync", str(error)))
        said += [_entry(extra, "OutOfSync", "to be pruned") for extra in await self._pruned(name, wanted, spec["prune"])]
        return said

    def _labelled(self, manifest: Tree, application: str) -> Tree:
        metadata = dict(manifest["metadata"])
        metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: application}
        return {**manifest, "metadata": metadata}

    async def _differs(self, manifest: Tree) -> bool:
        """Whether an apply would change anything: told by one as a dry run."""
        try:
            live = await self._read(await self._path(manifest))
        except errors.NotFound:
            return True
        return _substance(await self._apply(manifest, dry_run=True)) != _substance(live)

    async def _apply(self, manifest: Tree, *, dry_run: bool = False) -> Tree:
        query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        sent = json.dumps(manifest).encode()
        answer = await self._client.request("PATCH", await self._path(manifest), query=query, body=sent, content_type=PATCH_TYPES["apply"])
        return dict(json.loads(answer))

    async def _pruned(self, application: str, wanted: list[Tree], prune: bool) -> list[Tree]:
        """Takes away what is the application's and no longer wanted; returns what is left to be."""
        keep = {(m["kind"], m["metadata"]["name"]) for m in wanted}
        left: list[Tree] = []
        for (api_version, kind), (plural, namespaced) in list(self._found.items()):
            path = _collection(api_version, plural, self._namespace if namespaced else "")
            answer = await self._client.request("GET", path, query={"labelSelector": f"{LABEL}={application}"})
            for item in json.loads(answer)["items"]:
                name = item["metadata"]["name"]
                if (kind, name) in keep:
                    continue
                if not prune:
                    left.append({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
                    continue
                try:
                    await self._client.request("DELETE", f"{path}/{name}", query={"propagationPolicy": "Background"})
                except errors.NotFound:
                    continue
        return left

    async def _report(self, application: Tree, resources: list[Tree]) -> None:
        """Writes the status, as the controller's own fields, unless it says so already."""
        synced = all(one["status"] == "Synced" for one in resources)
        status = {
            "sync": {"status": "Synced" if synced else "OutOfSync"},
            "observedGeneration": application["metadata"]["generation"],
            "resources": resources,
        }
        if application.get("status") == status:
            return
        name = application["metadata"]["name"]
        sent = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Application", "metadata": {"name": name}, "status": status}
        query = {"fieldManager": MANAGER, "force": "true"}
        path = f"{self._applications}/{name}/status"
        await self._client.request("PATCH", path, query=query, body=json.dumps(sent).encode(), content_type=PATCH_TYPES["apply"])

    # ---- paths -----------------------------------------------------------------------------------------------------

    async def _read(self, path: str) -> Tree:
        return dict(json.loads(await self._client.request("GET", path)))

    async def _path(self, manifest: Tree) -> str:
        key = (manifest["apiVersion"], manifest["kind"])
        if key not in self._found:
            await self._discover(*key)
        plural, namespaced = self._found[key]
        return f"{_collection(manifest['apiVersion'], plural, self._namespace if namespaced else '')}/{manifest['metadata']['name']}"

    async def _discover(self, api_version: str, kind: str) -> None:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        for found in (await self._read(root))["resources"]:
            if found["kind"] == kind and "/" not in found["name"]:
                self._found[api_version, kind] = found["name"], found["namespaced"]
                return
        raise errors.NotFound(f"no kind {kind} in {api_version}")


def _collection(api_version: str, plural: str, namespace: str) -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _entry(manifest: Tree, status: str, message: str = "") -> Tree:
    group, _, version = manifest["apiVersion"].rpartition("/")
    entry = {"version": version, "kind": manifest["kind"], "name": manifest["metadata"]["name"], "status": status}
    return {**entry, **({"group": group} if group else {}), **({"message": message} if message else {})}


def _substance(tree: Tree) -> Tree:
    """An object without what every write changes."""
    metadata = {key: value for key, value in tree["metadata"].items() if key not in ("managedFields", "resourceVersion", "generation")}
    return {**tree, "metadata": metadata}


async def running(client: Client, namespace: str, clock: Clock) -> None:
    """Runs until it is cancelled; whatever passes, it goes on."""
    controller = Controller(client, namespace)
    while True:
        try:
            await controller.run(clock)
        except (TimeoutError, errors.ApiError):
            await clock.sleep(0.05)
