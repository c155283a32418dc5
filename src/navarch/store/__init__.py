"""The store: etcd's role, and the only place where the cluster's state is durable.

Only the API server opens a store. Everything it holds is bytes under string keys, with one growing revision over
everything; what the bytes mean is not known here.

Reading order: `interface` (the contract and its values), `ledger` (the pure part: which transaction gets which revision),
`memory` (the plainest implementation), `feed` (watches). Then the implementation in a file: `library` (which SQLite), `schema` (the
file's tables), `checksum`, `database` (its writer's SQL), `reading` (its readers'), `writing` (the writer's thread), `checkpointing` (who copies the
log), `clock` (store time), `mark` and `opening` (what is noticed when a file is opened), `faults` (errors), `sqlite` (all of it together).
`check` is what must hold in a file, `backup` backup and restore.
"""
