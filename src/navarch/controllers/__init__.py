"""The controller manager: one loop per controller, all in one process behind one leader election.

Reading order: `engine` (how a controller runs), `core` (what controllers decide, pure), then any controller in its area (`workloads`, `nodes`,
`network`, `storage`, `policy`, `identity`, `lifecycle`); `table` lists them. `loop` is the composition root, `options` its flags.

Upstream counterpart: kube-controller-manager.
"""
