"""Authentication: who sends a request.

`authenticator` asks in order; `certificates`, `static` and `tokens` each know one way to tell, `living` whether what a token is bound to still lives.

Upstream counterpart: pkg/kubeapiserver/authenticator.
"""
