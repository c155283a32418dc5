"""Persistent volumes with real containers: data outlives its pod, and what is in use stays."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest


def _storage(folder: pathlib.Path, name: str, mode: str) -> str:
    """A class, a volume on a folder of the machine, and a claim on it."""
    return f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: "{name}"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: {mode}
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: "{name}"}}
spec:
  storageClassName: "{name}"
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  hostPath: {{path: "{folder}", type: DirectoryOrCreate}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{storageClassName: "{name}", accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 500Mi}}}}}}
"""


def _pod(name: str, command: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: c
    image: localhost/navarch/sample:1
    command: [sh, -c, "{command}"]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"""


@pytest.mark.parametrize("mode", ["Immediate", "WaitForFirstConsumer"])
def test_data_outlives_its_pod(kubectl: Any, tmp_path: pathlib.Path, mode: str) -> None:
    name = f"{kubectl.namespace}-{mode.lower()}"
    kubectl("apply", "-f", "-", stdin=_storage(tmp_path / "disk", name, mode))
    if mode == "Immediate":
        kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=10s")
    else:
        kubectl.until(lambda: "waiting for first consumer to be created before binding" in kubectl("describe", "pvc", "data"))
    kubectl("apply", "-f", "-", stdin=_pod("writes", "echo kept > /data/file; sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/writes", "--timeout=30s")
    kubectl.until(lambda: kubectl("exec", "writes", "--", "cat", "/data/file") == "kept\n")
    assert kubectl.rows("pvc", "data")[0][1:4] == ["Bound", name, "1Gi"]
    kubectl("delete", "pvc", "data", "--wait=false")
    assert kubectl.value(".metadata.finalizers", "pvc", "data") == '["kubernetes.io/pvc-protection"]'
    kubectl("delete", "pod", "writes", "--wait")
    kubectl("wait", "--for=delete", "pvc/data", "--timeout=10s")
    kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{name}", "--timeout=10s")
    kubectl("patch", "pv", name, "-p", '{"spec":{"claimRef":null}}')
    kubectl("apply", "-f", "-", stdin=_storage(tmp_path / "disk", name, mode))
    kubectl("apply", "-f", "-", stdin=_pod("reads", "cat /data/file"))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reads", "--timeout=30s")
    assert kubectl("logs", "reads") == "kept\n"
    kubectl("delete", "pod", "reads", "--wait")
    kubectl("delete", "pvc", "data", "--timeout=10s")
    kubectl("delete", "pv,storageclass", name, "--timeout=10s")
