"""How any component talks to the API server: requests, watches, informers, queues, leases, events."""
