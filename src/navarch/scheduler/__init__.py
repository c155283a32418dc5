"""The scheduler: puts pending pods on nodes, and says why when it cannot.

Reading order. What decides (`core`): `columns` (the cluster as arrays), `terms` (what pods ask for), `counters` (pods counted per domain),
`view` and `plugin` (what a plugin sees and is), `plugins.table` (a row for each), the plugins, `topology`, `volumes`; `evaluation` (what is
kept between decisions), `decide` (the best node, or why there is none), `preempt` (who must go), `gang` and `extended` (groups,
extenders), `attempt` and `decider` (an attempt in, a decision out), `queue` (who is next); for people `explain` and `what_if`; `journal` and
`replay` (decisions kept, and made again); `check` (the columns against columns made anew).

What acts: `cache` (the state that is shared), `observe` with `storage` and `owners` (informers), `execute` (decisions carried out), `bind` with
`volume_binder` (pods bound, their volumes first), `statuses` (what is written about pods), `extenders`, `groups`, `loop` (all of it put
together); `config` (profiles), `options`, `history` (decisions that are kept, read back).

Upstream counterpart: kube-scheduler.
"""
