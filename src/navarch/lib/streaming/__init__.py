"""Streams inside upgraded HTTP connections: what exec, attach and port-forward travel in.

`spdy` is the SPDY/3.1 codec (bytes in, events out), `session` puts it on a connection, `channels` is the numbered-channel protocol over WebSocket,
`relay` takes over a server's connection and passes bytes on. Knows nothing of Kubernetes objects.
"""
