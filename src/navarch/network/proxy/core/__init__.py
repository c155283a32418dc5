"""The decisions of kube-proxy, pure: objects in, table fragments and nft transactions out."""
