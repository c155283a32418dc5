"""The API server: the only component that touches the store.

Reading order: `call` and `answers` (a request and its answer as values), `chain` (the stages), `verbs` with `verbs/write` (the door), `kinds`
(what a kind says of itself), `storage` with `watch_cache`. `http` knows the web library, `parts` puts everything together, `loop` runs it.
"""
