"""The kinds: what happens to each of them stands in one file for its API group, which ends in the literal table `KINDS`.

`strategy` says what there is to be said of a kind, `table` joins the tables. Pods have a folder, and so has the core group, whose kinds
have little to do with each other. What groups share has modules of its own: `metadata`, `checks`, `columns`, `containers`, `volumes`,
`templates` (rules of pod templates), `template_defaults`, `workloads`.
"""
