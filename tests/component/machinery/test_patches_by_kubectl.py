"""The same patches, done by the real `kubectl patch --local`, give the same objects."""

from __future__ import annotations

import copy
import json
import pathlib
import random
import shutil
import subprocess
from typing import Any

import pytest

from navarch.machinery import schema
from navarch.machinery.patch import json_patch, merge, strategic

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
POD = schema.named("io.k8s.api.core.v1.Pod")


def by_kubectl(directory: pathlib.Path, document: Any, patch: Any, kind: str) -> Any:
    file = directory / "object.json"
    file.write_text(json.dumps(document))
    command = [str(KUBECTL), "patch", "--local", "-f", str(file), "--type", kind, "-p", json.dumps(patch), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "no elements in any of the given slices" in done.stderr:  # it has no answer for an order of nothing
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def normal(tree: Any) -> Any:
    """Without what Go's encoder adds or leaves out."""
    if isinstance(tree, dict):
        return {k: v for k, inner in tree.items() if k not in ("creationTimestamp",) and (v := normal(inner)) not in ({}, [], None, "")}
    return [normal(inner) for inner in tree] if isinstance(tree, list) else tree


def document(chance: random.Random) -> dict[str, Any]:
    def some(names: str) -> list[str]:
        return chance.sample(names, chance.randint(0, len(names)))

    containers = [
        {
            "name": name,
            "image": chance.choice("xyz"),
            "args": some("123"),
            "env": [{"name": key, "value": chance.choice("12")} for key in some("KLM")],
            "ports": [{"containerPort": int(port), "protocol": "TCP"} for port in some("123")],
            "volumeMounts": [{"name": "v", "mountPath": f"/{at}"} for at in some("pq")],
        }
        for name in some("abcd")
    ]
    metadata = {"name": "p", "labels": {key: chance.choice("12") for key in some("abc")}, "finalizers": [f"f/{f}" for f in some("abc")]}
    spec = {"containers": containers, "tolerations": [{"key": key} for key in some("abc")], "volumes": volumes(chance, some("vw"))}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def volumes(chance: random.Random, names: list[str]) -> list[dict[str, Any]]:
    return [{"name": name, **chance.choice([{"emptyDir": {"medium": "Memory"}}, {"hostPath": {"path": "/x"}}])} for name in names]


def strategic_patch(chance: random.Random, target: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = document(chance)
    del patch["apiVersion"], patch["kind"], patch["metadata"]["name"]
    for container in patch["spec"]["containers"]:
        if chance.random() < 0.3:
            container["image"] = None
        if chance.random() < 0.3 and container["env"]:
            container["env"][0] = {"name": container["env"][0]["name"], "$patch": "delete"}
        if chance.random() < 0.2:
            container["env"].append({"$patch": "replace"})
    gone = [name for name in "abcd" if name not in [c["name"] for c in patch["spec"]["containers"]]]
    if gone and patch["spec"]["containers"]:
        patch["spec"]["containers"].append({"name": gone[0], "$patch": "delete"})
    if chance.random() < 0.5:
        named = [c["name"] for c in patch["spec"]["containers"] if "$patch" not in c]
        order = named + [n for n in "abcd" if n not in named and n not in gone[:1] and chance.random() < 0.5]
        patch["spec"]["$setElementOrder/containers"] = [{"name": name} for name in order]
    if chance.random() < 0.5:
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = patch["metadata"].pop("finalizers")
    for volume in patch["spec"]["volumes"]:
        volume["$retainKeys"] = list(volume)
    return patch


@pytest.mark.parametrize("seed", range(20))
def test_strategic_merge_as_kubectl_does_it(tmp_path: pathlib.Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        target = document(chance)
        patch = strategic_patch(chance, target)
        wanted = by_kubectl(tmp_path, target, patch, "strategic")
        assert wanted is None or normal(strategic.apply(copy.deepcopy(target), patch, POD)) == normal(wanted), (target, patch)


@pytest.mark.parametrize("seed", range(4))
def test_merge_and_json_patch_as_kubectl_does_it(tmp_path: pathlib.Path, seed: int) -> None:
    chance = random.Random(seed)
    target = document(chance)
    patch = {"metadata": {"labels": {"a": None, "z": "1"}}, "spec": document(chance)["spec"]}
    assert normal(merge.apply(target, patch)) == normal(by_kubectl(tmp_path, target, patch, "merge"))
    operations = [
        {"op": "add", "path": "/metadata/labels/x~1y", "value": "1"},
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "new", "image": "i"}},
        {"op": "copy", "from": "/spec/containers/-1", "path": "/spec/containers/0"},
        {"op": "replace", "path": "/spec/containers/0/name", "value": "copied"},
        {"op": "move", "from": "/spec/containers/0", "path": "/spec/containers/1"},
        {"op": "test", "path": "/spec/containers/1/name", "value": "copied"},
    ]
    assert normal(json_patch.apply(target, operations)) == normal(by_kubectl(tmp_path, target, operations, "json"))
