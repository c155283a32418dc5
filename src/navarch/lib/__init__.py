"""Building blocks that know nothing of Kubernetes: tasks, clocks, keys, logs, backoff."""
