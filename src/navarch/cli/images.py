"""`navarch image`: archives into this node's runtime, and what it has."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.cli import cluster, flags
from navarch.run import settings as where


@dataclass(frozen=True, slots=True)
class ImageFlags:
    data_dir: str = cluster.DATA


def image(words: Sequence[str]) -> int:
    """`import FILE...` or `list`."""
    if not words or {"-h", "--help"} & set(words) or words[0] not in ("import", "list"):
        print(f"navarch image import FILE...\nnavarch image list\n\n{flags.usage(ImageFlags)}")
        return 0 if words and words[0] in ("-h", "--help") else 1
    given, plain = flags.parse_mixed(ImageFlags, words[1:])
    from navarch.run import host, runtime

    host.extend_path()
    data_dir = pathlib.Path(given.data_dir).absolute()
    socket = runtime.containerd_settings(data_dir, where.run_dir(data_dir)).socket
    if not socket.exists():
        raise ValueError(f"no cluster runs from {data_dir}. Start one with: navarch up")
    if words[0] == "list":
        asyncio.run(_list(socket))
        return 0
    files = [pathlib.Path(w) for w in plain]
    if not files:
        raise ValueError("which file? navarch image import FILE...")
    asyncio.run(_import(socket, files))
    return 0


async def _import(socket: pathlib.Path, files: Sequence[pathlib.Path]) -> None:
    from navarch.cri import images

    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} is no file")
        for name in await images.import_archive(socket, file.absolute()):
            cluster.say(f"imported {name}")


async def _list(socket: pathlib.Path) -> None:
    from navarch.cri import client

    cri = client.Client(f"unix://{socket}")
    try:
        found = await cri.list_images()
    finally:
        await cri.close()
    rows = [(name, f"{item.size / 2**20:.1f} MiB") for item in found for name in item.tags or (item.id,)]
    cluster.table([("IMAGE", "SIZE"), *sorted(rows)])
