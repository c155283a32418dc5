"""What the objects of the Kubernetes API are: generated types, one module per group and version."""
