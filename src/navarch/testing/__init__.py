"""What ships for tests: the real control plane, inside the test's own process.

    from navarch.testing import server

    async def test_my_operator():
        async with server.running() as api:
            await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace="default")))

`server` is the API server itself on the memory store, over TLS on the loopback address; `fixtures` offers it to pytest. Nothing here
is imported by the components.
"""
