"""The scheduler: puts pending pods on nodes, and says why when it cannot.

Reading order: `core.columns` (the cluster as arrays), `core.terms` (what pods ask for), `core.counters` (pods counted per domain),
`core.filters` and `core.scores` (a node alone), `core.topology` (whole domains), `core.boards` (what is kept between decisions),
`core.schedule` (one decision), `core.preempt` (who must go), `core.explain` and `core.what_if` (for people); then `queue` (who is
next), `loop` (informers, decisions, binding), `statuses` (what is written about pods), `configuration` (profiles).

Upstream counterpart: kube-scheduler.
"""
