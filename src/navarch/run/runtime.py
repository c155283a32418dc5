"""The container runtime as part of a node: containerd kept running, images made and imported.

The runtime is ready when containerd answers and has the pause image, without which no pod starts. It outlives this process:
killing us takes down neither containerd nor containers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from navarch.cri import containerd, images, leftovers
from navarch.lib import tasks
from navarch.run import settings as where

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The cluster's folders."""

    data_dir: str = str(where.DEFAULT_DATA)
    run_dir: str = str(where.DEFAULT_RUN)


def containerd_settings(data_dir: pathlib.Path, run_dir: pathlib.Path) -> containerd.Settings:
    """Our containerd: `ctr --address RUN_DIR/containerd/containerd.sock` talks to it."""
    return containerd.Settings(
        data_dir=data_dir / "containerd",
        run_dir=run_dir / "containerd",
        sandbox_image=images.PAUSE,
        cni_conf_dir=run_dir / "cni",
    )


def _share(data_dir: pathlib.Path, run_dir: pathlib.Path) -> None:
    """Shares the mounts volumes propagate through, and notes which were private."""
    note = run_dir / "shared-mounts.json"
    changed = containerd.share_mounts([data_dir, run_dir])
    if changed:
        known = json.loads(note.read_text()) if note.exists() else []
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(sorted({*known, *changed})))


def make_archives(folder: pathlib.Path) -> list[pathlib.Path]:
    """The archives of our own images, written when they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, write in (("pause", images.pause_archive), ("sample", images.sample_archive)):
        archive = folder / f"{name}.tar"
        if not archive.exists():
            write(archive)
        found.append(archive)
    return found


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs until cancelled."""
    data_dir, run_dir = pathlib.Path(options.data_dir), pathlib.Path(options.run_dir)
    _share(data_dir, run_dir)
    made = containerd_settings(data_dir, run_dir)
    own = images.Folder(path=data_dir / "containerd" / "own-images", socket=made.socket, memory=data_dir / "containerd" / "own.json")
    dropped = images.Folder(path=data_dir / "images", socket=made.socket, memory=data_dir / "containerd" / "imported.json")
    dropped.path.mkdir(parents=True, exist_ok=True)
    answers = asyncio.Event()
    async with tasks.Group() as group:
        group.start("containerd", containerd.Containerd(made).supervise(answers))
        await asyncio.to_thread(make_archives, own.path)
        await answers.wait()
        await own.look()
        await own.look()
        ready()
        group.start("leftovers", leftovers.Sweeper(made, run_dir / "network" / "addresses").run())
        await dropped.watch()
