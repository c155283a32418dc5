"""Images without a registry: made from installed static binaries, and imported from tar files.

`pause_archive` and `sample_archive` write image archives (OCI layout with docker's manifest beside it, one tar, no tool needed);
`import_archive` hands an archive to containerd through `ctr`; `Folder` imports whatever tar files appear in a watched folder.
In: paths. Out: archives and the names of imported images. Not: pulling from registries, which CRI does.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import pathlib
import platform
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

PAUSE = "localhost/navarch/pause:1"
SAMPLE = "localhost/navarch/sample:1"
ARCHIVES = (".tar", ".tar.gz", ".tgz")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

_SERVE = """#!/bin/sh
# Serves one page that tells which pod answered; ends at once on TERM.
set -e
mkdir -p /tmp/www
pod=${POD_NAME:-$(hostname)}
node=${NODE_NAME:-unknown}
cat > /tmp/www/index.html <<PAGE
<!doctype html>
<title>Hello from Navarch</title>
<style>body{font:1.2em system-ui,sans-serif;margin:4em auto;max-width:36em}b{color:#0a6}</style>
<h1>It works.</h1>
<p>This page comes from pod <b>$pod</b> on node <b>$node</b>.</p>
PAGE
echo ok > /tmp/www/healthz
trap 'kill $server; exit 0' TERM INT
httpd -f -v -p "${PORT:-8080}" -h /tmp/www &
server=$!
echo "serving on port ${PORT:-8080}"
wait $server
"""


APPLETS = (
    "sh ash cat chmod cp cut date dd df du echo env expr false find free grep head hostname httpd id ip kill less ln ls mkdir more mv nc "
    "netstat nslookup ping printf ps pwd rm rmdir sed seq sleep sort stat tail tar tee test top touch tr true uname uniq vi wc wget which xargs"
)
"""What the sample image can do, for a look inside with `kubectl exec` and `kubectl cp`."""


class BinaryMissing(Exception):
    """An installed program an image is made from is not there; the message names its Debian package."""


@dataclass(frozen=True)
class File:
    """One entry of an image: a folder (`data` None), a link (`link` set) or a file."""

    data: bytes | None = None
    mode: int = 0o755
    link: str = ""


@dataclass(frozen=True)
class Config:
    """How an image runs."""

    entrypoint: Sequence[str]
    env: Sequence[str] = ("PATH=/bin:/sbin:/usr/bin:/usr/sbin",)
    user: str = ""
    ports: Sequence[str] = ()
    workdir: str = "/"


def _binary(name: str, package: str) -> bytes:
    path = shutil.which(name)
    if path is None:
        raise BinaryMissing(f"{name} is not installed (Debian package: {package})")
    return pathlib.Path(path).read_bytes()


def pause_archive(target: pathlib.Path, name: str = PAUSE) -> None:
    """The image of the process that holds a pod's namespaces."""
    files = {"catatonit": File(_binary("catatonit", "catatonit"))}
    write_archive(target, name, files, Config(entrypoint=["/catatonit", "-P"], user="65535:65535"))


def sample_archive(target: pathlib.Path, name: str = SAMPLE) -> None:
    """The image of the sample app: a web server on port 8080 that tells its pod and node (env POD_NAME, NODE_NAME)."""
    files: dict[str, File] = {
        "bin": File(),
        "tmp": File(mode=0o1777),
        "etc": File(),
        "etc/passwd": File(b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644),
        "etc/group": File(b"root:x:0:\nnobody:x:65534:\n", 0o644),
        "bin/busybox": File(_binary("busybox", "busybox-static")),
        "serve": File(_SERVE.encode()),
    }
    for applet in APPLETS.split():
        files[f"bin/{applet}"] = File(link="busybox")
    config = Config(entrypoint=["/serve"], ports=["8080/tcp"], env=("PATH=/bin", "PORT=8080"))
    write_archive(target, name, files, config)


def write_archive(target: pathlib.Path, name: str, files: Mapping[str, File], config: Config) -> None:
    """An image archive with one layer; the same input gives the same bytes."""
    layer = _layer(files)
    image_config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": list(config.entrypoint),
                "Env": list(config.env),
                "WorkingDir": config.workdir,
                "User": config.user,
                "ExposedPorts": {port: {} for port in config.ports},
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "navarch"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", image_config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    reference = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    reference["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = _json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [reference]})
    entries = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": index,
        **{f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (layer, image_config, manifest)},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    with tarfile.open(temporary, "w") as archive:
        for path, data in entries.items():
            _add(archive, path, File(data, 0o644))
    temporary.replace(target)


def _layer(files: Mapping[str, File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, file in files.items():
            _add(archive, path, file)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, path: str, file: File) -> None:
    info = tarfile.TarInfo(path)
    info.mode = file.mode
    if file.link:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
        archive.addfile(info)
    elif file.data is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    else:
        info.size = len(file.data)
        archive.addfile(info, io.BytesIO(file.data))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


class ImportFailed(Exception):
    """containerd would not take an archive; the message is what it said."""


async def import_archive(socket: pathlib.Path, archive: pathlib.Path) -> list[str]:
    """Loads every image of an archive into containerd's namespace for Kubernetes; their names."""
    try:
        process = await asyncio.create_subprocess_exec(
            "ctr",
            *("--address", str(socket), "--namespace", "k8s.io", "images", "import", str(archive)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise ImportFailed("ctr is not installed (Debian package: containerd)") from None
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise ImportFailed(f"{archive.name}: {errors.decode(errors='replace').strip()}")
    names = []
    for line in output.decode(errors="replace").splitlines():
        if line.startswith("unpacking "):
            names.append(line.split()[1])
    return names


@dataclass
class Folder:
    """A watched folder of archives. `memory` is a file that remembers what is already in, across restarts."""

    path: pathlib.Path
    socket: pathlib.Path
    memory: pathlib.Path
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            loaded = json.loads(self.memory.read_text())
            self._known = {name: (stamp[0], stamp[1]) for name, stamp in loaded.items()}
        except (OSError, ValueError, TypeError, LookupError):
            self._known = {}

    def _changed(self) -> list[pathlib.Path]:
        """Archives that are new and have not grown since the last look."""
        ready = []
        seen = {}
        for file in sorted(self.path.iterdir()) if self.path.is_dir() else ():
            if not file.name.endswith(ARCHIVES) or file.name.startswith("."):
                continue
            stat = file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            seen[file.name] = stamp
            if self._known.get(file.name) != stamp and self._seen.get(file.name) == stamp:
                ready.append(file)
        self._seen = seen
        return ready

    async def look(self) -> list[str]:
        """One look at the folder: imports what is new; names of the images that came in."""
        names: list[str] = []
        for file in self._changed():
            stamp = self._seen[file.name]
            try:
                imported = await import_archive(self.socket, file)
            except ImportFailed as error:
                log.error("cannot import %s", error)
            else:
                log.info("imported %s: %s", file.name, ", ".join(imported))
                names += imported
            self._known[file.name] = stamp
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            self.memory.write_text(json.dumps(self._known))
        return names

    async def watch(self, interval: float = 1.0) -> None:
        """Looks for ever. A file is taken when two looks in a row saw it unchanged."""
        while True:
            await self.look()
            await asyncio.sleep(interval)
