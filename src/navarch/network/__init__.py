"""The network of a node: how pods get addresses, how Services reach them, how names become addresses.

Three components that share nothing but this folder, each an ordinary API client:

- `cni/`: the node's bridge. Writes the CNI configuration once the node has its podCIDR and masquerades what leaves the cluster.
- `proxy/`: kube-proxy. Services and EndpointSlices become one nftables table.
- `dns/`: cluster DNS. Services, EndpointSlices and Pods become precomputed answers.

`nft.py` (transactions to the kernel) and `sysctls.py` (kernel settings, recorded and put back) serve all three.
"""
