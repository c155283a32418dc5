"""kube-proxy on nftables: a Service's addresses lead to its endpoints.

Upstream counterpart: kube-proxy's nftables mode. Comes in: Services, EndpointSlices and this node's facts. Goes out: the
table `kube-proxy` (one per address family), health answers and metrics. It decides nothing about pods and writes no object.

Where upstream has a chain and an anonymous map per service, here nearly everything is an element of a few shared maps: the
chain `pick-tcp-3` serves every service with three endpoints. A change then touches elements only, and loading 10,000 services
takes 0.3 s instead of 12 s, changing one 0.5 ms (the reasons are in docs/decisions/0003).

Read `core/facts.py` (what we know), `core/services.py` (objects to service ports and usable endpoints), `core/compiling.py`
(one service to its fragment of the table), `core/base.py` (the fixed part), `core/table.py` (fragments to transactions),
then `loop.py`.
"""
