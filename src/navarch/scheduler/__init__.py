"""The scheduler: puts pending pods on nodes, and says why when it cannot.

Reading order: `core.columns` (the cluster as arrays), `core.terms` (pods and their demands), `core.counters` (pods counted per
selector and node), `core.filters`, `core.scores`, `core.schedule` (one decision), then `loop` (informers, queue, binding).

Upstream counterpart: kube-scheduler.
"""
