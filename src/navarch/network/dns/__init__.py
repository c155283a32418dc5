"""Cluster DNS: names of Services and pods become addresses, everything else is asked upstream.

Upstream counterpart: CoreDNS with its kubernetes, forward, cache and loop plugins; the contract is the Kubernetes DNS
specification 1.1. Comes in: Services, EndpointSlices, Namespaces and queries. Goes out: answers, made of bytes that were
computed when the objects changed; a query costs a parse, a dictionary look-up and a join.

Read `core/wire.py` (messages), `core/records.py` (a Service to its records), `core/zone.py` (all of them), `core/answering.py`
(query to answer), then `upstream.py` (forwarding) and `loop.py`.
"""
