"""The CRI client: one async method per call a node agent makes, plain frozen values back.

In: the runtime's unix socket. Out: values below, or `CriError` with the gRPC code by name and the runtime's own words (formatted
as upstream prints them, since they end up in events). Configurations go in as CRI messages (`proto.message`), because they are
deep and only built in one place. Upstream's counterpart is cri-client's remote_runtime.go and remote_image.go. Holds no state
besides the channel: gRPC reconnects by itself after the runtime has come back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from navarch.cri import proto
from navarch.cri.proto import Message

CALL_TIMEOUT = 120.0
"""Upstream's runtimeRequestTimeout."""

IMPATIENT = frozenset({"Version", "Status", "ListPodSandbox", "ListContainers"})

_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)


class CriError(Exception):
    """A call the runtime refused or did not answer. `code` is gRPC's name in Go's spelling ("NotFound", "Unavailable")."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox as listed. `created_at` in nanoseconds since the epoch."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """A sandbox with its addresses (`ips` is empty when it uses the host's network)."""

    id: str
    ready: bool
    created_at: int
    ips: tuple[str, ...]
    host_network: bool


@dataclass(frozen=True, slots=True)
class Container:
    """A container as listed. `state` is "created", "running", "exited" or "unknown"."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: str
    image: str
    image_ref: str
    created_at: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """All a runtime knows of one container; times in nanoseconds since the epoch, 0 when not yet."""

    id: str
    name: str
    attempt: int
    state: str
    created_at: int
    started_at: int
    finished_at: int
    exit_code: int
    reason: str
    message: str
    image: str
    image_ref: str
    image_id: str
    log_path: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    user: tuple[int, int, tuple[int, ...]] | None
    resources: Message | None
    mounts: Mapping[str, str]
    """Host paths by path inside the container."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the runtime; `user` is the numeric uid or the name the image declares, if any."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    uid: int | None
    username: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a finished ExecSync left."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the runtime (`RuntimeReady`, `NetworkReady`)."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Handler:
    """What one runtime handler can do."""

    user_namespaces: bool
    recursive_read_only_mounts: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How the runtime is and what it can do. `handlers` by name ("" is the default one); none where the runtime is too old to tell."""

    conditions: tuple[Condition, ...]
    info: Mapping[str, str]
    handlers: Mapping[str, Handler]
    supplemental_groups_policy: bool | None = None


@dataclass(frozen=True, slots=True)
class Filesystem:
    """Where images or writable layers live and what they hold."""

    mountpoint: str
    used_bytes: int
    inodes_used: int


_STATES = ("created", "running", "exited", "unknown")


class Client:
    """All calls of one runtime. `endpoint` is `unix:///path` or a bare path."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint if "://" in endpoint else f"unix://{endpoint}"
        # The authority must not be the escaped socket path: Go servers refuse it.
        self._channel = grpc.aio.insecure_channel(self.endpoint, options=(*_OPTIONS, ("grpc.default_authority", "localhost")))
        self._calls: dict[tuple[str, str], Any] = {}

    async def close(self) -> None:
        """Ends all calls."""
        await self._channel.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The gRPC channel, for services that a runtime offers beside CRI on the same socket."""
        return self._channel

    async def call(self, service: str, name: str, /, limit: float | None = CALL_TIMEOUT, **fields: Any) -> Message:
        """One unary call that may take `limit` seconds; fields of the request by name.

        While the runtime is restarting a call waits for it; only those that ask how it is fail at once (`IMPATIENT`).
        """
        method = proto.method(service, name)
        stub = self._calls.get((service, name))
        if stub is None:
            stub = self._channel.unary_unary(
                method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
            )
            self._calls[service, name] = stub
        try:
            return await stub(method.request(**fields), timeout=limit, wait_for_ready=name not in IMPATIENT)
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None

    async def _run(self, name: str, /, limit: float | None = CALL_TIMEOUT, **fields: Any) -> Message:
        return await self.call("RuntimeService", name, limit, **fields)

    async def version(self) -> tuple[str, str]:
        """Name and version of the runtime: ("containerd", "1.6.20")."""
        answer = await self._run("Version", limit=5)
        return answer.runtime_name, answer.runtime_version

    async def status(self, verbose: bool = False) -> Status:
        """How the runtime is, and with `verbose` its debugging information."""
        answer = await self._run("Status", limit=10, verbose=verbose)
        conditions = tuple(Condition(c.type, c.status, c.reason, c.message) for c in answer.status.conditions)
        handlers = {h.name: Handler(h.features.user_namespaces, h.features.recursive_read_only_mounts) for h in answer.runtime_handlers}
        groups = answer.features.supplemental_groups_policy if answer.HasField("features") else None
        return Status(conditions, dict(answer.info), handlers, groups)

    async def update_pod_cidr(self, cidr: str) -> None:
        """Tells the runtime the node's pod network."""
        config = proto.message("RuntimeConfig")(network_config=proto.message("NetworkConfig")(pod_cidr=cidr))
        await self._run("UpdateRuntimeConfig", runtime_config=config)

    async def run_sandbox(self, config: Message, handler: str = "", timeout: float = 4 * 60.0) -> str:
        """Makes and starts a sandbox; its id."""
        answer = await self._run("RunPodSandbox", limit=timeout, config=config, runtime_handler=handler)
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stops everything in a sandbox and takes its network away. Stopping twice is fine."""
        await self._run("StopPodSandbox", pod_sandbox_id=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Removes a sandbox and its containers."""
        await self._run("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """A sandbox with its addresses."""
        status = (await self._run("PodSandboxStatus", pod_sandbox_id=sandbox_id)).status
        ips = (status.network.ip, *(extra.ip for extra in status.network.additional_ips))
        return SandboxStatus(
            id=status.id,
            ready=status.state == 0,
            created_at=status.created_at,
            ips=tuple(ip for ip in ips if ip),
            host_network=status.linux.namespaces.options.network == proto.enum("NamespaceMode", "NODE"),
        )

    async def sandbox_info(self, sandbox_id: str) -> Mapping[str, str]:
        """The runtime's debugging information about a sandbox."""
        return dict((await self._run("PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=True)).info)

    async def list_sandboxes(self) -> list[Sandbox]:
        """All sandboxes, ready or not."""
        answer = await self._run("ListPodSandbox")
        return [
            Sandbox(
                id=item.id,
                name=item.metadata.name,
                namespace=item.metadata.namespace,
                uid=item.metadata.uid,
                attempt=item.metadata.attempt,
                ready=item.state == 0,
                created_at=item.created_at,
                labels=dict(item.labels),
                annotations=dict(item.annotations),
            )
            for item in answer.items
        ]

    async def create_container(self, sandbox_id: str, config: Message, sandbox_config: Message) -> str:
        """Creates a container in a sandbox; its id."""
        answer = await self._run("CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config)
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        """Starts a created container."""
        await self._run("StartContainer", container_id=container_id)

    async def stop_container(self, container_id: str, grace: int) -> None:
        """Sends the stop signal, after `grace` seconds KILL; returns when the container has ended."""
        await self._run("StopContainer", limit=CALL_TIMEOUT + grace, container_id=container_id, timeout=grace)

    async def remove_container(self, container_id: str) -> None:
        """Removes a container, killing it when it runs."""
        await self._run("RemoveContainer", container_id=container_id)

    async def list_containers(self) -> list[Container]:
        """All containers in any state."""
        answer = await self._run("ListContainers")
        return [
            Container(
                id=item.id,
                sandbox_id=item.pod_sandbox_id,
                name=item.metadata.name,
                attempt=item.metadata.attempt,
                state=_STATES[item.state],
                image=item.image.image,
                image_ref=item.image_ref,
                created_at=item.created_at,
                labels=dict(item.labels),
                annotations=dict(item.annotations),
            )
            for item in answer.containers
        ]

    async def container_status(self, container_id: str) -> ContainerStatus:
        """Everything about one container; CriError NotFound when it is gone."""
        status = (await self._run("ContainerStatus", container_id=container_id)).status
        return _container_status(status)

    async def update_container(self, container_id: str, linux: Message) -> None:
        """Changes a running container's cgroup values."""
        await self._run("UpdateContainerResources", container_id=container_id, linux=linux)

    async def reopen_log(self, container_id: str) -> None:
        """Makes the runtime open the container's log file anew, after it was rotated."""
        await self._run("ReopenContainerLog", container_id=container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Runs a command to its end inside a container; CriError DeadlineExceeded when it takes longer (0 = no limit)."""
        # The runtime gets the limit to kill the command; the call itself waits a little longer to hear of it.
        seconds = max(1, round(timeout)) if timeout else 0
        limit = seconds + 10 if seconds else None
        answer = await self._run("ExecSync", limit=limit, container_id=container_id, cmd=list(command), timeout=seconds)
        return ExecResult(answer.exit_code, answer.stdout, answer.stderr)

    async def exec_url(self, container_id: str, command: Sequence[str], stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Where the runtime serves the streams of a command about to run."""
        answer = await self._run("Exec", container_id=container_id, cmd=list(command), stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str(answer.url)

    async def attach_url(self, container_id: str, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Where the runtime serves the streams of the container's own process."""
        answer = await self._run("Attach", container_id=container_id, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str(answer.url)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """Where the runtime serves connections into the sandbox's network."""
        return str((await self._run("PortForward", pod_sandbox_id=sandbox_id, port=list(ports))).url)

    async def container_stats(self) -> Sequence[Message]:
        """CRI ContainerStats of all running containers."""
        return list((await self._run("ListContainerStats")).stats)

    async def pull_image(self, image: str, auth: Mapping[str, str] | None = None, sandbox_config: Message | None = None) -> str:
        """Pulls an image (no time limit); its reference. `auth` has the fields of AuthConfig."""
        fields: dict[str, Any] = {"image": proto.message("ImageSpec")(image=image)}
        if auth:
            fields["auth"] = proto.message("AuthConfig")(**auth)
        if sandbox_config is not None:
            fields["sandbox_config"] = sandbox_config
        return str((await self.call("ImageService", "PullImage", None, **fields)).image_ref)

    async def image_status(self, image: str) -> Image | None:
        """The image of this name or id, None when it is not present."""
        answer = await self.call("ImageService", "ImageStatus", image=proto.message("ImageSpec")(image=image))
        return _image(answer.image) if answer.image.id else None

    async def list_images(self) -> list[Image]:
        """All images present."""
        return [_image(item) for item in (await self.call("ImageService", "ListImages")).images]

    async def remove_image(self, image: str) -> None:
        """Removes an image by name or id; no error when it is not there."""
        await self.call("ImageService", "RemoveImage", image=proto.message("ImageSpec")(image=image))

    async def image_filesystems(self) -> list[Filesystem]:
        """Where images lie, and their size."""
        answer = await self.call("ImageService", "ImageFsInfo")
        return [Filesystem(fs.fs_id.mountpoint, fs.used_bytes.value, fs.inodes_used.value) for fs in answer.image_filesystems]

    async def container_events(self) -> AsyncIterator[str]:
        """Ids of containers and sandboxes that changed, as the runtime says so. CriError Unimplemented where it cannot."""
        method = proto.method("RuntimeService", "GetContainerEvents")
        stub = self._channel.unary_stream(
            method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        try:
            async for event in stub(method.request()):
                yield event.container_id
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None


def _translate(error: grpc.aio.AioRpcError) -> CriError:
    code = "".join(part.capitalize() for part in error.code().name.split("_"))
    return CriError("Canceled" if code == "Cancelled" else code, error.details() or "")


def _image(image: Message) -> Image:
    return Image(
        id=image.id,
        tags=tuple(image.repo_tags),
        digests=tuple(image.repo_digests),
        size=image.size,
        uid=image.uid.value if image.HasField("uid") else None,
        username=image.username,
        pinned=image.pinned,
    )


def _container_status(status: Message) -> ContainerStatus:
    user = None
    if status.HasField("user") and status.user.HasField("linux"):
        linux = status.user.linux
        user = (linux.uid, linux.gid, tuple(linux.supplemental_groups))
    return ContainerStatus(
        id=status.id,
        name=status.metadata.name,
        attempt=status.metadata.attempt,
        state=_STATES[status.state],
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        image_id=status.image_id,
        log_path=status.log_path,
        labels=dict(status.labels),
        annotations=dict(status.annotations),
        user=user,
        resources=status.resources.linux if status.HasField("resources") else None,
        mounts={mount.container_path: mount.host_path for mount in status.mounts},
    )
