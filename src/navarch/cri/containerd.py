"""A private containerd: configured for this machine, started, found again, kept running.

Everything of it lies under two folders of ours (data that stays, state that goes with a reboot), so it meddles with no other
containerd. It outlives us: it runs in its own session, and a new owner finds it by its configuration file's path. Containers are
children of their shims, so even a killed containerd takes none down; `supervise` starts the next one.

In: `Settings`. Out: a ready CRI socket. Not: the pod network's configuration (that is the network agent's), nor image names.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import pathlib
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.cri import client
from navarch.lib import backoff

log = logging.getLogger(__name__)

CAP_SYS_RESOURCE = 24
MS_SHARED = 1 << 20
MNT_DETACH = 2
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")


class RuntimeMissing(Exception):
    """A program that is needed is not installed, or the runtime did not come up; the message says which and why."""


@dataclass(frozen=True)
class Settings:
    """What one private containerd is made from. `run_dir` should be short: unix socket paths end at 107 bytes."""

    data_dir: pathlib.Path
    run_dir: pathlib.Path
    sandbox_image: str
    cni_conf_dir: pathlib.Path
    cni_bin_dir: pathlib.Path | None = None
    binary: str = "containerd"

    @property
    def socket(self) -> pathlib.Path:
        return self.run_dir / "containerd.sock"

    @property
    def config(self) -> pathlib.Path:
        return self.run_dir / "containerd.toml"

    @property
    def log(self) -> pathlib.Path:
        return self.data_dir / "containerd.log"

    @property
    def root(self) -> pathlib.Path:
        return self.data_dir / "root"

    @property
    def state(self) -> pathlib.Path:
        return self.run_dir / "state"


def may_lower_oom_score() -> bool:
    """Whether processes started here may get a negative oom_score_adj (CAP_SYS_RESOURCE)."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


def overlay_works(folder: pathlib.Path) -> bool:
    """Tries an overlay mount inside `folder`; where it is refused containerd gets the native snapshotter."""
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="overlay-") as scratch:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{scratch}/{name}")
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        target = f"{scratch}/merged".encode()
        if libc.mount(b"overlay", target, b"overlay", 0, options.encode()) != 0:
            return False
        libc.umount2(target, MNT_DETACH)
        return True


def share_mounts(paths: Sequence[pathlib.Path]) -> list[str]:
    """Makes the mounts that hold `paths` (and `/`) shared, so that volumes may propagate; the mount points changed.

    A runtime refuses mountPropagation HostToContainer or Bidirectional on private mounts, and on a machine without systemd `/`
    is private. The list is what to give to `unshare_mounts` when everything of ours is down.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    table = _mounts()
    changed = []
    for path in {pathlib.Path("/"), *paths}:
        point = max((m for m in table if path == pathlib.Path(m) or pathlib.Path(m) in path.parents), key=len, default="/")
        if table.get(point, True) or point in changed:
            continue
        if libc.mount(None, point.encode(), None, MS_SHARED, None) == 0:
            changed.append(point)
        else:
            log.warning("%s stays a private mount (%s): volumes will not propagate", point, os.strerror(ctypes.get_errno()))
    return changed


def unshare_mounts(points: Sequence[str]) -> None:
    """Puts mounts changed by `share_mounts` back to private."""
    libc = ctypes.CDLL(None, use_errno=True)
    for point in points:
        libc.mount(None, point.encode(), None, 1 << 18, None)


def _mounts() -> dict[str, bool]:
    """Mount points of this namespace and whether they are shared."""
    found = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        options = fields[6 : fields.index("-")]
        found[fields[4].replace("\\040", " ")] = any(option.startswith("shared:") for option in options)
    return found


def configuration(settings: Settings, *, overlay: bool, lower_oom_score: bool) -> str:
    """containerd's configuration, version 2 (read by containerd 1.4 and later)."""
    bin_dir = settings.cni_bin_dir or next((pathlib.Path(f) for f in CNI_FOLDERS if pathlib.Path(f).is_dir()), CNI_FOLDERS[0])
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{settings.root}"
state = "{settings.state}"
[grpc]
  address = "{settings.socket}"
[plugins]
  {cri}]
    sandbox_image = "{settings.sandbox_image}"
    restrict_oom_score_adj = {str(not lower_oom_score).lower()}
    netns_mounts_under_state_dir = true
    tolerate_missing_hugetlb_controller = true
    disable_hugetlb_controller = true
    max_container_log_line_size = 16384
    {cri}.cni]
      bin_dir = "{bin_dir}"
      conf_dir = "{settings.cni_conf_dir}"
    {cri}.containerd]
      snapshotter = "{"overlayfs" if overlay else "native"}"
      default_runtime_name = "runc"
      {cri}.containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        {cri}.containerd.runtimes.runc.options]
          SystemdCgroup = false
          Root = "{settings.run_dir / "runc"}"
    {cri}.registry]
      config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "{settings.root / "opt"}"
"""


class Containerd:
    """One private containerd, by its settings. All methods may be called by any owner, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    def find(self) -> int | None:
        """The process id of the containerd that runs with our configuration, whoever started it."""
        wanted = str(self.settings.config).encode()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if wanted in words and b"--config" in words:
                    return int(name)
        return None

    async def ensure(self, wait: float = 20.0) -> int:
        """Starts containerd unless it runs, and waits until CRI answers; its process id. RuntimeMissing when it does not."""
        pid = self.find()
        if pid is None:
            pid = await self._start()
        await self._ready(pid, wait)
        return pid

    async def _start(self) -> int:
        settings = self.settings
        for folder in (settings.data_dir, settings.run_dir, settings.cni_conf_dir):
            folder.mkdir(parents=True, exist_ok=True)
        text = configuration(settings, overlay=overlay_works(settings.data_dir), lower_oom_score=may_lower_oom_score())
        settings.config.write_text(text)
        with contextlib.suppress(FileNotFoundError):
            settings.socket.unlink()
        with open(settings.log, "ab") as output:  # noqa: ASYNC230 - a local file, once
            try:
                # Not asyncio's: that one kills its children when the loop ends, and containerd is to outlive us.
                self._child = subprocess.Popen(  # noqa: ASYNC220
                    [settings.binary, "--config", str(settings.config)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise RuntimeMissing("containerd is not installed (Debian package: containerd)") from None
        return self._child.pid

    async def _ready(self, pid: int, wait: float) -> None:
        """Asks CRI until it answers: a fresh containerd takes about 0.2 s, and longer when it has many containers to take back."""
        deadline = asyncio.get_running_loop().time() + wait
        cri = client.Client(f"unix://{self.settings.socket}")
        try:
            while True:
                if self.settings.socket.exists():
                    with contextlib.suppress(client.CriError):
                        # Listing works later than telling the version: only once all containers are taken back.
                        await cri.list_sandboxes()
                        return
                if (self._child is not None and self._child.poll() is not None) or not pathlib.Path(f"/proc/{pid}").exists():
                    raise RuntimeMissing(f"containerd ended while starting: {self._last_words()}")
                if asyncio.get_running_loop().time() > deadline:
                    raise RuntimeMissing(f"containerd did not answer within {wait:.0f} s: {self._last_words()}")
                await asyncio.sleep(0.03)
        finally:
            await cri.close()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.settings.log.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "nothing in its log"
        return "no log"

    async def wait_end(self, pid: int) -> None:
        """Returns when the process is gone, child of ours or not."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            if self._child is not None:
                self._child.poll()

    async def supervise(self, ready: asyncio.Event | None = None) -> None:
        """Keeps containerd running for ever, with backoff; `ready` is set at the first time it answers."""
        waits = backoff.Backoff(backoff.RECONNECT)
        while True:
            try:
                pid = await self.ensure()
            except RuntimeMissing as error:
                log.error("%s", error)
                await asyncio.sleep(waits.next())
                continue
            waits.reset()
            if ready is not None:
                ready.set()
            await self.wait_end(pid)
            log.warning("containerd (process %d) has ended, starting it again", pid)

    async def stop(self, wait: float = 5.0) -> None:
        """Ends containerd, not the containers."""
        pid = self.find()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait_end(pid), wait)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await self.wait_end(pid)

    async def wipe_pods(self) -> None:
        """Stops and removes every sandbox and container; for taking a node down."""
        cri = client.Client(f"unix://{self.settings.socket}")
        try:
            sandboxes = await cri.list_sandboxes()
            await asyncio.gather(*(_wipe(cri, sandbox.id) for sandbox in sandboxes))
        finally:
            await cri.close()


async def _wipe(cri: client.Client, sandbox_id: str) -> None:
    for attempt in range(3):
        try:
            await cri.stop_sandbox(sandbox_id)
            await cri.remove_sandbox(sandbox_id)
            return
        except client.CriError as error:
            if attempt == 2:
                log.warning("sandbox %s stays: %s", sandbox_id, error)
