"""The store: etcd's role, and the only place where the cluster's state is durable.

Only the API server opens a store. Everything it holds is bytes under string keys, with one growing revision over
everything; what the bytes mean is not known here.

Reading order: `interface` (the contract and its values), `ledger` (the pure part: which transaction gets which revision),
`memory` (the plainest implementation), `feed` (watches), `database` (SQL and the file), `writing` (its writer's thread),
`sqlite` (the implementation built on those), `check` (what must hold in a file), `backup` (backup and restore).
"""
