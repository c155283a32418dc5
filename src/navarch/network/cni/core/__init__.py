"""The decisions of the pod network, pure: objects in, configuration and nft transactions out."""
