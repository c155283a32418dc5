"""The scheduler: puts pending pods on nodes, and says why when it cannot.

Reading order: `core.columns` (the cluster as arrays), `core.terms` (what pods ask for), `core.counters` (pods counted per domain),
`core.filters` and `core.scores` (a node alone), `core.topology` (whole domains), `core.storage`, `core.volume_filters` and
`core.volume_binding` (claims and volumes), `core.evaluations` (what is kept between decisions), `core.schedule` (one decision),
`core.preempt` (who must go), `core.explain` and `core.what_if` (for people), `core.decision` and `core.replay` (decisions kept, and
made again), `core.check` (the columns against columns made anew); then `queue` (who is next), `loop` (informers, decisions,
binding), `volumes` (bound before their pods), `extending` and `together` (HTTP extenders, groups), `statuses` (what is written about
pods), `configuration` (profiles).

Upstream counterpart: kube-scheduler.
"""
