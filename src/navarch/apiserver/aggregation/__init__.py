"""Aggregation: groups that other servers serve, behind this one.

An APIService names a group version and the Service that serves it. `registry` knows them as they are stored, with their priorities; `registration`
keeps one for each group version that this server serves itself. `availability` finds out whether the others can be reached, `proxying` sends
requests on to them, `remote` is what they are asked with; `discovered` and `specs` fetch what they serve, to be shown with our own. `trust` publishes
in kube-system how they know that a request comes from us. `aggregator` puts these together.
"""
