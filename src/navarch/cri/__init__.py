"""The container runtime layer: how a node agent talks to containerd, CRI-O or anything else that speaks CRI.

Read in this order: `proto` (message classes made at run time from the fact table), `client` (the calls a kubelet needs, as
plain values), `containerd` (a private containerd: configured, started, found again), `images` (images made and imported
without a registry). Upstream's counterpart is staging/src/k8s.io/cri-client. Knows nothing of pods or of the API server.
"""
