"""`navarch down`: takes a cluster off the machine and leaves nothing behind but its data; with `wipe`, not even that.

Each step looks for what is really there, so that it works from any state: a running cluster, one whose processes were all killed,
one half taken down, none at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

from navarch.cri import containerd
from navarch.lib import mounts
from navarch.run import host, runtime, status
from navarch.run import settings as where
from navarch.run.settings import Settings

SUPERVISOR_SECONDS = 20.0


def down(data_dir: pathlib.Path, say: Callable[[str], None], *, wipe: bool = False) -> None:
    """Stops everything of the cluster whose data is in `data_dir`."""
    host.need_root()
    host.extend_path()
    settings = where.load(data_dir)
    if settings is None:
        say(f"There is no cluster in {data_dir}.")
        return
    had = stop_supervisor(settings)
    had = asyncio.run(_stop_runtime(settings)) or had
    others = status.other_clusters(settings.run_dir)
    _remove_traces(settings, alone=not others)
    if others:
        say(f"The network stays: another cluster uses it ({', '.join(map(str, others))}).")
    if wipe:
        shutil.rmtree(settings.data_dir, ignore_errors=True)
    kept = "Its data is removed too." if wipe else f"Its data stays in {settings.data_dir}; `navarch up` brings it back."
    say(("The cluster is down. " if had else "The cluster was not running. ") + kept)


def stop_supervisor(settings: Settings) -> bool:
    """Ends the supervisor in good order, and its guard, which would bring it back otherwise."""
    had, until = False, time.monotonic() + SUPERVISOR_SECONDS
    while True:
        pid, guard = status.supervisor_pid(settings), status.guard_pid(settings)
        if not pid and not guard:
            return had
        had, late = True, time.monotonic() > until
        if guard and (late or not pid):
            _kill(guard, signal.SIGKILL)
        if pid:
            _kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            _wait(pid, until)
        if guard and not late:
            _wait(guard, time.monotonic() + 1.0)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(pid: int, until: float) -> None:
    while status.alive(pid) and time.monotonic() < until:
        time.sleep(0.01)


async def _stop_runtime(settings: Settings) -> bool:
    """Stops all pods and containerd. Where containerd is gone but containers are not, it is started once more to end them."""
    made = runtime.containerd_settings(settings.data_dir, settings.run_dir)
    keeper = containerd.Containerd(made)
    if keeper.find() is None and not _shims(settings):
        return False
    try:
        await keeper.ensure()
        await asyncio.wait_for(keeper.wipe_pods(), 30.0)
    except (containerd.RuntimeMissing, TimeoutError, OSError):
        pass
    await keeper.stop()
    for pid in _shims(settings):
        _kill(pid, signal.SIGKILL)
    return True


def _shims(settings: Settings) -> list[int]:
    """Shims of our containers: their command line names our socket."""
    return status.running_with(str(settings.run_dir / "containerd" / "containerd.sock"))


def _remove_traces(settings: Settings, *, alone: bool) -> None:
    """Mounts, links, tables, cgroups, kernel settings, the run folder. What has one name per machine goes only when we are alone."""
    from navarch.kubelet import loop as kubelet
    from navarch.network import links
    from navarch.network.cni import loop as cni
    from navarch.network.proxy import loop as proxy

    if alone:
        kubelet.take_down(kubelet.Options(kubeconfig="", root_dir=str(settings.kubelet_dir)))
    for folder in (settings.run_dir, settings.data_dir):
        for point in mounts.below(folder):
            mounts.unmount(point)
    if alone:
        cni.cleanup(cni.Options(cni_conf_dir=str(settings.cni_conf), state_dir=str(settings.network_state)))
        proxy.cleanup()
        links.remove_own()
    with contextlib.suppress(OSError, ValueError):
        containerd.unshare_mounts(json.loads(settings.shared_mounts.read_text()))
    shutil.rmtree(settings.run_dir, ignore_errors=True)
