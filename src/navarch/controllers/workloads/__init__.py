"""ReplicaSets, Deployments, Jobs: what runs pods."""
