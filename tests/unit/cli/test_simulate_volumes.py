"""`navarch simulate` on a dump with storage: pods go where their volumes are."""

from __future__ import annotations

import pathlib

import pytest

from navarch.cli import scheduling

DUMP = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: a, labels: {kubernetes.io/hostname: a}}, status: {allocatable: {cpu: "4", memory: 4Gi, pods: "10"}}}
- {apiVersion: v1, kind: Node, metadata: {name: b, labels: {kubernetes.io/hostname: b}}, status: {allocatable: {cpu: "4", memory: 4Gi, pods: "10"}}}
- apiVersion: storage.k8s.io/v1
  kind: StorageClass
  metadata: {name: local}
  provisioner: kubernetes.io/no-provisioner
  volumeBindingMode: WaitForFirstConsumer
- apiVersion: v1
  kind: PersistentVolume
  metadata: {name: disk}
  spec:
    storageClassName: local
    capacity: {storage: 10Gi}
    accessModes: [ReadWriteOnce]
    local: {path: /disk}
    nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [b]}]}]}}
  status: {phase: Available}
"""
CLAIM = """
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec: {storageClassName: local, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  containers: [{name: c, image: x}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
"""


def test_two_pods_and_one_disk(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump, manifest = tmp_path / "dump.yaml", tmp_path / "app.yaml"
    dump.write_text(DUMP)
    manifest.write_text(CLAIM % ("one", "p", "one"))
    assert scheduling.simulate(["--dump", str(dump), "-f", str(manifest)]) == 0
    placed = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("default/p"))
    assert placed[1] == "b"
    manifest.write_text(CLAIM % ("one", "p", "one") + CLAIM % ("two", "q", "two"))
    assert scheduling.simulate(["--dump", str(dump), "-f", str(manifest)]) == 1
    assert "2 node(s) didn't find available persistent volumes to bind" in capsys.readouterr().out
