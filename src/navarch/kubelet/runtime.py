"""What a pod's machine wants done in the container runtime, done through CRI.

In: pods, containers and what they refer to. Out: views for the machine, or `StartError` with upstream's reason. No decisions about
whether or when: those are `core.machine`'s. Upstream's counterpart is pkg/kubelet/kuberuntime.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import pathlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from navarch.api.core import v1
from navarch.api.node import v1 as node_v1
from navarch.api.scalars import Quantity
from navarch.client.rest import Unreachable
from navarch.cri.client import Client, CriError, Handler
from navarch.cri.proto import Message
from navarch.kubelet import cgroups, configs, container_views, log_keeper
from navarch.kubelet.core import containers, downward, env, resources
from navarch.kubelet.core.env import ConfigError
from navarch.kubelet.core.model import ContainerView, SandboxView
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.handlers import Answer, BadHandler, Handlers
from navarch.kubelet.images import Puller, StartError, Tell
from navarch.kubelet.references import References
from navarch.kubelet.user_namespaces import NoIds, Range, UserNamespaces
from navarch.kubelet.volumes.mounter import Mounter
from navarch.lib import beneath
from navarch.machinery import errors

log = logging.getLogger(__name__)

MIN_GRACE = 2
"""Even a container to be killed at once gets this many seconds, as upstream gives it."""
ENV_FILE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Where things are on this node and what pods get from it."""

    root: pathlib.Path
    logs: str
    dns: configs.Dns
    memory: int
    cgroup_root: str = "/"
    pod_cgroups: bool = True


@dataclass
class Surroundings:
    """What the runtime asks for when it needs it: things that change while the node runs."""

    host_ips: Callable[[], tuple[str, ...]]
    allocatable: Callable[[], Mapping[str, Quantity]]
    services: Callable[[], Iterable[v1.Service]]
    services_ready: Callable[[], bool]
    handlers: Callable[[], Mapping[str, Handler]]


class Runtime:
    """The effects on one runtime. Stateless besides its parts; safe to use for many pods at once."""

    def __init__(
        self,
        cri: Client,
        mounter: Mounter,
        puller: Puller,
        references: References,
        handlers: Handlers,
        settings: Settings,
        around: Surroundings,
        user_namespaces: UserNamespaces,
    ) -> None:
        self.cri = cri
        self.mounter = mounter
        self.handlers = handlers
        self.settings = settings
        self.around = around
        self.keeper = log_keeper.Keeper()
        self.puller = puller
        self._references = references
        self._user_namespaces = user_namespaces

    # ---- sandboxes -----------------------------------------------------------------------------------------------------------

    async def make_sandbox(self, pod: v1.Pod, attempt: int) -> SandboxView:
        """Makes the pod's sandbox with its network. CriError or ConfigError when it cannot be."""
        handler = await self._handler(pod)
        self._need_user_namespaces(pod, handler)
        config = self.sandbox_config(pod, attempt)
        pathlib.Path(config.log_directory).mkdir(parents=True, exist_ok=True)
        self._set_pod_cgroup(pod)
        sandbox_id = await self.cri.run_sandbox(config, handler)
        status = await self.cri.sandbox_status(sandbox_id)
        return SandboxView(sandbox_id, attempt, status.ready, status.created_at / 1e9, status.ips)

    def sandbox_config(self, pod: v1.Pod, attempt: int) -> Message:
        """The sandbox's configuration, the same each time it is made."""
        parent = cgroups.parent_of(self.settings.cgroup_root, pod) if self.settings.pod_cgroups else ""
        return configs.sandbox(pod, attempt, self.settings.dns, self.settings.logs, parent, self._user_range(pod))

    def _need_user_namespaces(self, pod: v1.Pod, handler: str) -> None:
        """Refuses a pod that wants users of its own where the runtime would give it the node's."""
        if not (pod.spec and pod.spec.hostUsers is False):
            return
        handlers = self.around.handlers()
        if handlers and handler not in handlers:
            raise ConfigError(f'can\'t set `spec.hostUsers: false`, {_of(handler)}: the handler "{handler}" is not known')
        if not handlers or not handlers[handler].user_namespaces:
            raise ConfigError(f"can't set `spec.hostUsers: false`, {_of(handler)}")

    def _user_range(self, pod: v1.Pod) -> Range | None:
        """The node's ids behind the pod's own users; None for the node's users."""
        if not (pod.spec and pod.spec.hostUsers is False):
            return None
        try:
            return self._user_namespaces.range_of((pod.metadata and pod.metadata.uid) or "")
        except NoIds as error:
            raise ConfigError(str(error)) from None

    async def remove(self, uid: str) -> None:
        """Takes away what the node keeps of a pod without processes: mounts, files, ids. OSError when a mount stays."""
        await self.mounter.remove(uid)
        self._user_namespaces.release(uid)

    async def _handler(self, pod: v1.Pod) -> str:
        name = pod.spec.runtimeClassName if pod.spec else None
        if not name:
            return ""
        found = await self._references.fetch(node_v1.RuntimeClass, "", name, 60.0)
        if found is None:
            raise ConfigError(f'runtimeclass.node.k8s.io "{name}" not found')
        handler = found.handler or ""
        return "" if handler == "runc" else handler

    # ---- containers ----------------------------------------------------------------------------------------------------------

    async def prepare_image(self, pod: v1.Pod, spec: v1.Container, sandbox: SandboxView, tell: Tell) -> tuple[str, int | None, str]:
        """The image's reference, and the user it declares by number or by name. Raises `StartError`."""
        policy = spec.imagePullPolicy or "IfNotPresent"
        found = [await self._secret(pod, ref.name or "") for ref in (pod.spec and pod.spec.imagePullSecrets) or ()]
        config = self.sandbox_config(pod, sandbox.attempt)
        image = await self.puller.ensure(spec.image or "", policy, [s for s in found if s is not None], config, tell)
        return image.id, image.uid, image.username

    async def _secret(self, pod: v1.Pod, name: str) -> v1.Secret | None:
        try:
            return await self._references.fetch(v1.Secret, (pod.metadata and pod.metadata.namespace) or "", name, 60.0)
        except (errors.ApiError, Unreachable):
            return None

    async def create(
        self,
        pod: v1.Pod,
        spec: v1.Container,
        attempt: int,
        sandbox: SandboxView,
        image: tuple[str, int | None, str],
        others: Sequence[ContainerView],
        tell: Tell,
    ) -> ContainerView:
        """Creates and starts a container whose image is there. Raises `StartError`, having told the user."""
        try:
            plan = await self._plan(pod, spec, attempt, sandbox, image, others)
            config = configs.container(pod, spec, plan)
        except (ConfigError, PayloadError, downward.BadField, errors.ApiError, Unreachable, OSError) as error:
            tell("Warning", "Failed", f"Error: {error}")
            raise StartError("CreateContainerConfigError", str(error)) from None
        sandbox_config = self.sandbox_config(pod, sandbox.attempt)
        folder = pathlib.Path(sandbox_config.log_directory) / (spec.name or "")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            container_id = await self.cri.create_container(sandbox.id, config, sandbox_config)
        except CriError as error:
            tell("Warning", "Failed", f"Error: {error.description}")
            raise StartError("CreateContainerError", error.description) from None
        tell("Normal", "Created", "Container created")
        self.keeper.hold(container_id)
        try:
            await self.cri.start_container(container_id)
        except CriError as error:
            tell("Warning", "Failed", f"Error: {error.description}")
            view = await self.view(container_id, sandbox.id)
            raise StartError("RunContainerError", error.description, view) from None
        tell("Normal", "Started", "Container started")
        view = await self.view(container_id, sandbox.id)
        if view is None:
            raise StartError("RunContainerError", "the container vanished after it was started")
        held = spec.resources or v1.ResourceRequirements()
        return dataclasses.replace(view, resources=held)

    async def _plan(
        self,
        pod: v1.Pod,
        spec: v1.Container,
        attempt: int,
        sandbox: SandboxView,
        image: tuple[str, int | None, str],
        others: Sequence[ContainerView],
    ) -> configs.ContainerPlan:
        ips = sandbox.ips or (self.around.host_ips() if pod.spec and pod.spec.hostNetwork else ())
        paths = await self._volume_paths(pod, spec)
        variables = env.variables(pod, spec, await self._sources(pod, spec, ips, paths))
        mounts = await self._mounts(pod, spec, paths, variables)
        mounts += self._own_mounts(pod, spec, ips)
        ephemeral = next((c for c in (pod.spec and pod.spec.ephemeralContainers) or () if c.name == spec.name), None)
        target = ""
        if ephemeral is not None and ephemeral.targetContainerName:
            found = containers.latest(others, ephemeral.targetContainerName)
            if found is None:
                raise ConfigError(f'unable to find target container "{ephemeral.targetContainerName}"')
            target = found.id
        return configs.ContainerPlan(
            attempt=attempt,
            image_ref=image[0],
            variables=variables,
            mounts=mounts,
            node_memory=self.settings.memory,
            image_uid=image[1],
            image_username=image[2],
            target_id=target,
            user_range=self._user_range(pod),
        )

    async def _volume_paths(self, pod: v1.Pod, spec: v1.Container) -> dict[str, pathlib.Path]:
        """Host paths of what the container mounts; volumes are made by now, so this only looks them up."""
        used = {mount.name for mount in spec.volumeMounts or ()}
        used |= {v.valueFrom.fileKeyRef.volumeName for v in spec.env or () if v.valueFrom and v.valueFrom.fileKeyRef}
        paths = {}
        for volume in (pod.spec and pod.spec.volumes) or ():
            if volume.name in used:
                paths[volume.name or ""] = await self.mounter.path(pod, volume)
        return paths

    async def _sources(self, pod: v1.Pod, spec: v1.Container, ips: tuple[str, ...], paths: Mapping[str, pathlib.Path]) -> env.Sources:
        namespace = (pod.metadata and pod.metadata.namespace) or ""
        maps: dict[str, v1.ConfigMap | None] = {}
        found_secrets: dict[str, v1.Secret | None] = {}
        for kind, name in sorted(env.references(spec)):
            if kind == "ConfigMap":
                maps[name] = await self._references.fetch(v1.ConfigMap, namespace, name)
            else:
                found_secrets[name] = await self._references.fetch(v1.Secret, namespace, name)
        if not self.around.services_ready():
            raise ConfigError("services have not yet been read at least once, cannot construct envvars")
        return env.Sources(
            config_maps=maps,
            secrets=found_secrets,
            services=self.around.services(),
            pod_ips=ips,
            host_ips=self.around.host_ips(),
            allocatable=self.around.allocatable(),
            files={name: await self._file(paths, *name) for name in sorted(env.files(spec))},
        )

    @staticmethod
    async def _file(paths: Mapping[str, pathlib.Path], volume: str, path: str) -> bytes | None:
        """A file in a volume for the environment. Containers write there: it may be anything and of any size."""
        if volume not in paths:
            raise ConfigError(f'cannot find the volume "{volume}" referenced by FileKeyRef')
        try:
            content = await asyncio.to_thread(beneath.read, paths[volume], path, ENV_FILE_LIMIT + 1)
        except OSError as error:
            log.info("environment file %r of volume %s: %s", path, volume, error)
            return None
        if len(content) > ENV_FILE_LIMIT:
            raise ConfigError("couldn't parse env file")
        return content

    async def _mounts(self, pod: v1.Pod, spec: v1.Container, paths: Mapping[str, pathlib.Path], variables: Mapping[str, str]) -> list[configs.Mount]:
        result = []
        volumes = (pod.spec and pod.spec.volumes) or ()
        read_only = {v.name for v in volumes if v.configMap or v.secret or v.downwardAPI or v.projected}
        read_only |= {v.name for v in volumes if v.persistentVolumeClaim is not None and v.persistentVolumeClaim.readOnly}
        for index, mount in enumerate(spec.volumeMounts or ()):
            name = mount.name or ""
            if name not in paths:
                raise ConfigError(f"cannot find volume {name!r} to mount into container {spec.name!r}")
            path = paths[name]
            sub_path = mount.subPath or ""
            if mount.subPathExpr:
                sub_path = env.expand(mount.subPathExpr, _strict(variables))
            if sub_path:
                path = await self.mounter.sub_path(pod, spec.name or "", index, name, path, sub_path)
            elif not path.exists():
                path.mkdir(parents=True, mode=0o750)
            inside = mount.mountPath or ""
            inside = inside if inside.startswith("/") else f"/{inside}"
            writable_kind = name not in read_only
            result.append(configs.Mount(str(path), inside, bool(mount.readOnly) or not writable_kind, mount.mountPropagation or "None"))
        return result

    def _own_mounts(self, pod: v1.Pod, spec: v1.Container, ips: Sequence[str]) -> list[configs.Mount]:
        """/etc/hosts and the file for the termination message."""
        uid = (pod.metadata and pod.metadata.uid) or ""
        folder = self.mounter.pod_dir(uid)
        taken = {mount.mountPath for mount in spec.volumeMounts or ()}
        result = []
        if "/etc/hosts" not in taken:
            path = folder / "etc-hosts"
            node_hosts = pathlib.Path("/etc/hosts").read_text() if pod.spec and pod.spec.hostNetwork else ""
            path.write_text(configs.hosts_file(pod, ips, self.settings.dns, node_hosts))
            path.chmod(0o644)
            result.append(configs.Mount(str(path), "/etc/hosts"))
        inside = spec.terminationMessagePath
        if inside:
            place = folder / "containers" / (spec.name or "")
            place.mkdir(parents=True, exist_ok=True)
            file = place / secrets.token_hex(4)
            file.touch()
            file.chmod(0o666)
            result.append(configs.Mount(str(file), inside))
        return result

    async def view(self, container_id: str, sandbox_id: str) -> ContainerView | None:
        """Everything about a container; None when the runtime does not know it."""
        try:
            status = await self.cri.container_status(container_id)
        except CriError as error:
            if error.code == "NotFound":
                return None
            raise
        message = status.message
        if status.state == "exited":
            self.keeper.rescue(container_id, status.log_path)
            message = await asyncio.to_thread(container_views.termination_message, status) or status.message
        return container_views.view(status, sandbox_id, message)

    # ---- hooks, stopping -----------------------------------------------------------------------------------------------------

    async def run_hook(self, handler: v1.LifecycleHandler, spec: v1.Container, container_id: str, pod_ip: str) -> Answer:
        """A postStart or preStop hook, to its end."""
        if handler.exec is not None:
            return await self.handlers.execute(container_id, handler.exec.command or (), 0)
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds or 0)
            return Answer(True)
        try:
            if handler.httpGet is not None:
                return await self.handlers.http(spec, handler.httpGet, pod_ip, 30.0, "lifecycle")
        except BadHandler as error:
            return Answer(False, str(error))
        return Answer(False, "invalid handler")

    async def stop(self, spec: v1.Container | None, container_id: str, grace: int, pod_ip: str, hook: bool, tell: Tell) -> None:
        """Runs the preStop hook and stops the container within its grace period. CriError when it will not stop."""
        left = grace
        pre_stop = spec.lifecycle.preStop if spec is not None and spec.lifecycle else None
        if pre_stop is not None and spec is not None and hook and grace > 0:
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(grace):
                    answer = await self.run_hook(pre_stop, spec, container_id, pod_ip)
                if not answer.ok:
                    tell("Warning", "FailedPreStopHook", "PreStopHook failed")
            except TimeoutError:
                log.info("preStop hook of container %s did not end within %d s", spec.name, grace)
            left -= int(asyncio.get_running_loop().time() - began)
        try:
            await self.cri.stop_container(container_id, max(MIN_GRACE, left))
        except CriError as error:
            if error.code != "NotFound":
                raise

    async def resize(self, pod: v1.Pod, spec: v1.Container, container_id: str) -> None:
        """Gives a running container's cgroup the values of its spec."""
        values = resources.cgroup_values(pod, spec, self.settings.memory)
        self._set_pod_cgroup(pod)
        await self.cri.update_container(container_id, configs.linux_resources(values))
        # The kernel refuses a quota below that of a container inside, so what shrinks is set once more.
        self._set_pod_cgroup(pod)

    def _set_pod_cgroup(self, pod: v1.Pod) -> None:
        if self.settings.pod_cgroups:
            cgroups.make(cgroups.parent_of(self.settings.cgroup_root, pod), resources.pod_cgroup(pod))


def _of(handler: str) -> str:
    return f'RuntimeClass handler "{handler}" does not support user namespaces' if handler else "runtime does not support user namespaces"


def _strict(variables: Mapping[str, str]) -> Callable[[str], str | None]:
    def lookup(name: str) -> str | None:
        if name not in variables:
            raise ConfigError(f'missing value for "{name}"')
        return variables[name]

    return lookup
