"""Volumes: what pods ask for with theirs, what the cluster has, which node can give it.

Reading order: `terms` (what a pod's volumes ask for), `storage` (claims, volumes, classes, drivers), `binding` (which volumes each node
would give), `reserving` (what was chosen, until it has come true), `filters`.

Upstream counterparts: plugins/{volumebinding,volumerestrictions,nodevolumelimits,volumezone}.
"""
