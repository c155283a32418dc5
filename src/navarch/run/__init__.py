"""Composition roots: how the components become a cluster on this machine.

Read `settings.py` (where everything of a cluster is), `host.py` (what the machine must have), `cluster.py` (certificates and
kubeconfigs), `components.py` (which component gets which flags), `supervisor.py` (processes, kept alive), `up.py` and `down.py`
(the commands), `addons.py` (objects every cluster has, and the sample app).

Upstream counterparts: kubeadm for the first half, k3s and microshift for the second.
"""
