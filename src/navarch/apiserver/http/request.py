"""A request as the web library has it, which is also what a call reads its body from (`call.Incoming`)."""

from __future__ import annotations

from aiohttp import web


class Request(web.BaseRequest):
    """One request on its connection."""

    begun: bool = False
    """Whether something of the answer was sent."""

    @property
    def target(self) -> str:
        """Path and query as they were sent. Of a request line with a whole URL, what follows the host."""
        path = self.raw_path
        return path if path.startswith("/") else self.rel_url.raw_path_qs

    @property
    def security(self) -> object:
        transport = self.transport
        return transport.get_extra_info("ssl_object") if transport is not None else None

    async def body(self, most: int) -> bytes | None:
        """The body; None when it is larger: its length need not be what it says."""
        content = self.content
        parts: list[bytes] = []
        size = 0
        while not content.at_eof():
            part = await content.readany()
            size += len(part)
            if size > most:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
