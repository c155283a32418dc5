"""HTTP: the only place of the API server that knows the web library. Above it, a request is a `Call` and an answer a value.

`connections` makes them and bounds them; `request` is what a connection gives; `front` makes it a call, has the chain answer it, and writes
the answer; `responses` writes documents, pieces and streams; `tunnel`, `forwarding` and `log_socket` pass what a kubelet, a pod or a service
answers on, with `links` for its pages; `outbound` calls what extends the server.
"""
