"""The controller manager: one loop per controller, all in one process behind one leader election.

Reading order: `engine` (how a controller runs), `owners` (ownership and pod templates), then any controller; `table` lists them.
`loop` is the composition root.

Upstream counterpart: kube-controller-manager.
"""
