"""The pod network of one node: a bridge, addresses, and the way out.

Upstream counterpart: what a network add-on (kindnet, flannel) does on a node. Comes in: the Node's podCIDRs and the pods of this
node. Goes out: the CNI configuration (the standard `bridge` and `host-local` plugins do the work per pod), kernel settings, and
the nftables table `navarch-pods`: masquerading what leaves the cluster, and host ports.

Host ports are elements of that table, made from the pods' specs, and not the `portmap` plugin's work: that one needs iptables,
leaves chains behind, and nothing here else would need it.

Read `core/conflist.py`, `core/pods.py`, `loop.py`.
"""
