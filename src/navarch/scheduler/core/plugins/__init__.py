"""Plugins: `table` has a row for each. A filter or score is a function of a `View` and the slots to look at.

Reading order: `table`; `taints`, `node_affinity`, `ports`, `resources`, `images` (a node alone; topology and volumes are `core.topology` and
`core.volumes`); `hints` (what is missing, for people); `args` and `checks` (arguments); `own` (plugins that a profile brings along).

Upstream counterpart: pkg/scheduler/framework/plugins.
"""
