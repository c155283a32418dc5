"""The kubelet: makes the pods assigned to this node run, and tells the API server how they are.

Read in this order: `core/model` (values), `core/machine` (the pod state machine `step(state, event, now)`), `core/status` (what the
API sees), then the effects: `worker` (performs a machine's actions), `runtime` (CRI), `volumes/`, `images`, `probing`, `logs`,
`server` (the node's own HTTPS API), `node` (the Node object), `loop` (puts all of it together).
Upstream's counterpart is pkg/kubelet.
"""
