"""What runs a controller: informers feed a queue of keys, workers reconcile one key at a time.

A controller is a value: which kinds it watches, how their changes become keys, and one `reconcile(key)`. It observes through
the shared informers, decides by the pure functions of `controllers.core`, and acts through the client.

Reading order: `context` (what controllers share), `runner` (queue and workers), `expectations` (not deciding on a cache that is behind),
`owned` (the pods of one owner: adopted, made, removed, awaited).
"""
