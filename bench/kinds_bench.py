"""What one write costs in the strategy of its kind: defaulting, preparing and validating, and a row of a table. Run: python bench/kinds_bench.py"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import columns, table
from navarch.machinery import codec

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-5d8f7c9b4-x2x7z", "namespace": "default", "labels": {"app": "web", "pod-template-hash": "5d8f7c9b4"}},
    "spec": {
        "serviceAccountName": "default",
        "containers": [
            {
                "name": "web",
                "image": "nginx:1.27",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "A", "value": "b"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}, {"name": "token", "mountPath": "/token"}],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "web"}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ],
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
    },
}  # fmt: skip


def micros(do: Callable[[], Any], times: int = 5000) -> float:
    """The best of five runs, in µs of processor time a call."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(times // 5):
            do()
        best = min(best, (time.process_time() - start) / (times // 5))
    return best * 1e6


def main() -> None:
    strategy = table.of("", "pods")
    text = codec.encode(POD)

    def fresh() -> core_v1.Pod:
        return codec.decode(core_v1.Pod, text)

    def written() -> core_v1.Pod:
        pod = fresh()
        strategy.default(pod)
        strategy.prepare_create(pod, 0.0)
        return pod

    def checked() -> None:
        problems = strategy.validate(written())
        assert not problems, problems

    decode = micros(fresh)
    prepared = micros(written)
    whole = micros(checked)
    print(f"decode a pod                 {decode:7.1f} µs")
    print(f"default and prepare          {prepared - decode:7.1f} µs")
    print(f"validate                     {whole - prepared:7.1f} µs")
    tree = codec.to_tree(written())
    sheet = table.of("", "pods").columns
    now = time.time()
    print(f"row of a pod                 {micros(lambda: columns.cells(sheet, tree, now)):7.1f} µs")
    body = codec.encode(tree)
    print(f"row of a pod, from its bytes {micros(lambda: columns.cells(sheet, codec.tree(body), now)):7.1f} µs")
    old = written()
    print(f"validate an update           {micros(lambda: strategy.validate_update(copy.copy(old), old)):7.1f} µs")


if __name__ == "__main__":
    main()
