"""Puts the kubelet together and keeps it going.

In: `Options` (upstream's flags). What it does: registers the node, adopts what already runs, then gives every pod of this node a `Worker` and
feeds it what the API server and the runtime say. Upstream's counterpart is kubelet.go's syncLoop. Thin: decisions are in `core/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
import socket
from collections.abc import Callable, Iterable

from navarch.api.core import v1
from navarch.client import informer, kubeconfig, rest
from navarch.client.events import Recorder
from navarch.cri.client import Client as CriClient
from navarch.cri.client import CriError
from navarch.kubelet import cgroups, cleanup, configs, image_records, machine_facts, qos, static_pods, user_namespaces
from navarch.kubelet.core import admission, image_access, model, resources, sysctls
from navarch.kubelet.core import node as node_core
from navarch.kubelet.core.model import Failed, Failure, PodChanged, PodRemoved, RuntimeFound, RuntimeSeen
from navarch.kubelet.handlers import Handlers
from navarch.kubelet.images import Puller
from navarch.kubelet.node import Pressure, Reporter
from navarch.kubelet.observer import Identity, Observer
from navarch.kubelet.options import Options
from navarch.kubelet.references import References
from navarch.kubelet.runtime import Runtime, Settings, Surroundings
from navarch.kubelet.server import Server
from navarch.kubelet.statuses import Statuses
from navarch.kubelet.volumes import table
from navarch.kubelet.volumes.mounter import Mounter, VolumeErrors
from navarch.kubelet.volumes.tokens import Tokens
from navarch.kubelet.worker import Tools, Worker
from navarch.lib import mounts, tasks

__all__ = ["Kubelet", "Options", "run", "take_down"]

log = logging.getLogger(__name__)

REFRESH_EVERY = 10.0


class Kubelet:
    """The node agent: pods by uid, each with its worker."""

    def __init__(self, options: Options, client: rest.Client, cri: CriClient, group: tasks.Group) -> None:
        self.options = options
        self.client = client
        self.cri = cri
        self.group = group
        self.name = options.hostname_override or socket.gethostname().lower()
        ips = tuple(ip for ip in options.node_ip.split(",") if ip) or (machine_facts.default_ip(),)
        self.facts = model.NodeFacts(self.name, ips, crash_most=options.crash_loop_max)
        self.root = pathlib.Path(options.root_dir)
        self.root.mkdir(parents=True, exist_ok=True)
        machine = machine_facts.machine(self.root)
        self.recorder = Recorder(client, "kubelet", self.name)
        identity = node_core.Identity(self.name, ips, options.port, "", options.max_pods)
        self.reporter = Reporter(client, cri, self.recorder, machine, identity, self.root, options.kube_reserved)
        self.reporter.pressures = Pressure(self.root).now
        self.pods: informer.Informer[v1.Pod] = informer.Informer(client, v1.Pod, fields=f"spec.nodeName={self.name}")
        self.services: informer.Informer[v1.Service] = informer.Informer(client, v1.Service)
        self.nodes: informer.Informer[v1.Node] = informer.Informer(client, v1.Node, fields=f"metadata.name={self.name}")
        self.workers: dict[str, Worker] = {}
        self.handlers = Handlers(cri)
        references = References(client)
        self.tokens = Tokens(client)
        policy = image_access.Policy(options.image_pull_credentials_verification_policy)
        rules = image_access.Rules(policy, options.preloaded_images_verification_allowlist)
        self.puller = Puller(cri, image_records.Records(self.root), rules)
        self.sysctls = sysctls.Allowlist(options.allowed_unsafe_sysctls, machine.kernel)
        self.mounter = Mounter(self.root, table.plugins(references, self.tokens, self.reporter.allocatable))
        around = Surroundings(lambda: ips, self.reporter.allocatable, self.services.list, self.services.synced.is_set, lambda: self.reporter.handlers)
        ids = user_namespaces.UserNamespaces(self.root / "pods", user_namespaces.of_node())
        self.runtime = Runtime(cri, self.mounter, self.puller, references, self.handlers, self._settings(machine.memory), around, ids)
        self.observer = Observer(cri, self.runtime, self._seen)
        statuses = Statuses(client, group, self._removed)
        slots = asyncio.Semaphore(options.parallel_starts)
        self.tools = Tools(self.runtime, statuses, self.recorder, group, slots, self._gone)
        pids = machine_facts.process_ids()
        whole = resources.node_cgroup(machine.cpus, machine.memory, pids, options.kube_reserved)
        self.classes = qos.Classes(options.cgroup_root, whole, self._active)
        self.cleaner = cleanup.Cleaner(cri, self.observer, self.workers, self.runtime, options, group)
        self._first_look: dict[str, RuntimeSeen] = {}
        self._adopting = True

    def _active(self) -> list[v1.Pod]:
        """Pods that may use something of the node."""
        return [w.pod for w in self.workers.values() if w.state.life in (model.Life.SYNCING, model.Life.TERMINATING) and not w.state.failure]

    def _settings(self, memory: int) -> Settings:
        options = self.options
        servers, searches, host_options = machine_facts.resolv_conf(options.resolv_conf)
        dns = configs.Dns(tuple(options.cluster_dns), options.cluster_domain, servers, searches, host_options)
        return Settings(self.root, options.pod_log_dir, dns, memory, options.cgroup_root, options.cgroups_per_qos)

    # ---- pods come and go ----------------------------------------------------------------------------------------------------

    def changed(self, change: informer.Change[v1.Pod]) -> None:
        """What the API server says about pods of this node."""
        match change:
            case informer.Added(pod):
                self.update(pod)
            case informer.Modified(old, new):
                if _uid(old) != _uid(new):
                    self.remove(_uid(old))
                self.update(new)
            case informer.Deleted(pod):
                self.remove(_uid(pod))

    def update(self, pod: v1.Pod) -> None:
        """A pod to run as this object says."""
        if static_pods.is_mirror(pod):
            shown = self.workers.get(static_pods.mirrored(pod))
            if shown is not None:
                self.tools.statuses.seen(shown.pod, shown.state.status, pod)
            return
        self.classes.changed()
        worker = self.workers.get(_uid(pod))
        if worker is not None:
            self.tools.statuses.seen(pod, worker.state.status, pod)
            worker.dispatch(PodChanged(pod))
            return
        worker = Worker(pod, self.facts, self.tools)
        self.workers[_uid(pod)] = worker
        seen = self._first_look.pop(_uid(pod), None)
        if seen is not None:
            worker.dispatch(RuntimeFound(seen))
        else:
            failure = self._refusal(pod)
            if failure is not None:
                self.recorder.event(pod, "Warning", failure.reason, failure.message.removeprefix("Pod was rejected: "))
                worker.dispatch(Failed(failure))
                return
        worker.dispatch(PodChanged(pod))

    def _refusal(self, pod: v1.Pod) -> Failure | None:
        """Why a pod of which nothing runs may not run here. What a pod may do to the node is asked each time, whether it fits only once."""
        if not _fresh(pod):
            return admission.rejected(self.sysctls.check(pod))
        others = [worker.pod for uid, worker in self.workers.items() if uid != _uid(pod)]
        return admission.check(pod, self.nodes.get(self.name), self.reporter.allocatable(), others, self.sysctls)

    def remove(self, uid: str) -> None:
        """A pod that is gone from its source."""
        worker = self.workers.get(uid)
        if worker is not None:
            worker.dispatch(PodRemoved())

    def _removed(self, uid: str) -> None:
        self.remove(uid)

    def _gone(self, uid: str) -> None:
        self.workers.pop(uid, None)
        self.classes.changed()
        self.tools.statuses.forget(uid)
        self.cleaner.pod_gone(uid)

    def _seen(self, identity: Identity, event: RuntimeSeen) -> None:
        if self._adopting:
            self._first_look[identity.uid] = event
            return
        worker = self.workers.get(identity.uid)
        if worker is not None:
            worker.dispatch(event)

    # ---- running -------------------------------------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None]) -> None:
        """Starts everything; `ready` is called once pods are served."""
        group = self.group
        await self._await_runtime()
        group.start("events", self.recorder.run())
        group.start("services", self.services.run())
        self.nodes.subscribe(lambda _: self.reporter.seen(self.nodes.get(self.name)))
        group.start("node", self.nodes.run())
        if self.options.register_node:
            await self.reporter.register(self.options.node_labels, self.options.register_with_taints)
        group.start("node status", self.reporter.run())
        group.start("node lease", self.reporter.keep_lease())
        await self._first_look_at_runtime()
        group.start("pods", self.pods.run())
        await self.pods.synced.wait()
        await self.nodes.synced.wait()
        with contextlib.suppress(TimeoutError):
            # Without Services no container can be configured; a pod would only fail once and try again.
            await asyncio.wait_for(self.services.synced.wait(), 5.0)
        self._adopt()
        self.pods.subscribe(self.changed)
        if self.options.cgroups_per_qos:
            # Once the pods are known, and before anything is started for them.
            self.classes.make()
            group.start("qos cgroups", self.classes.run())
        self._first_look.clear()
        group.start("observer", self.observer.run())
        group.start("runtime events", self.observer.listen())
        group.start("cleanup", self.cleaner.run())
        group.start("volume refresh", self._refresh_volumes())
        if self.options.pod_manifest_path:
            manifests = pathlib.Path(self.options.pod_manifest_path)
            source = static_pods.Source(manifests, self.name, self.client, self.update, self.remove, self.pods, self.nodes)
            group.start("static pods", source.run())
        server = Server(self.options, self.name, self.facts.ips, self.root, self.client, self.cri, self.workers, lambda: self.observer.error)
        await server.start()
        log.info("kubelet of node %s is ready, serving on port %d", self.name, self.options.port)
        ready()
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()

    async def _await_runtime(self) -> None:
        told = False
        while True:
            try:
                name, version = await self.cri.version()
                break
            except CriError as error:
                if not told:
                    log.warning("waiting for the container runtime at %s: %s", self.cri.endpoint, error)
                    told = True
                await asyncio.sleep(0.2)
        await self.runtime.keeper.find(self.cri)
        await self._settle_pulls()
        self.reporter.identity = node_core.Identity(self.name, self.facts.ips, self.options.port, f"{name}://{version}", self.options.max_pods)

    async def _settle_pulls(self) -> None:
        """Before any pod asks for an image: what the last kubelet was pulling counts as pulled."""
        try:
            await self.puller.settle()
        except CriError as error:
            log.warning("cannot list images: %s", error)

    async def _first_look_at_runtime(self) -> None:
        """What runs already; a runtime that has just started may need a moment before it can list."""
        while True:
            try:
                await self.observer.look()
                return
            except CriError as error:
                log.debug("cannot list containers yet: %s", error)
                await asyncio.sleep(0.1)

    def _adopt(self) -> None:
        """From now on the runtime's changes go to workers; what belongs to no pod is cleaned up later."""
        self._adopting = False

    async def _refresh_volumes(self) -> None:
        """Brings ConfigMaps, Secrets and tokens in volumes up to date, a few pods at a time."""
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            for worker in list(self.workers.values()):
                state = worker.state
                if state.life is not model.Life.SYNCING or state.volumes is not model.Volumes.MOUNTED:
                    continue
                if not _refreshable(worker.pod):
                    continue
                try:
                    await self.mounter.mount(worker.pod, refresh=True)
                except VolumeErrors as error:
                    log.debug("volumes of %s: %s", worker.uid, error)
                await asyncio.sleep(0)


def _uid(pod: v1.Pod) -> str:
    return (pod.metadata and pod.metadata.uid) or ""


def _fresh(pod: v1.Pod) -> bool:
    """Whether the pod was never taken by a kubelet."""
    return not (pod.metadata and pod.metadata.deletionTimestamp) and not (pod.status and pod.status.startTime)


def _refreshable(pod: v1.Pod) -> bool:
    volumes: Iterable[v1.Volume] = (pod.spec and pod.spec.volumes) or ()
    return any(v.configMap or v.secret or v.downwardAPI or v.projected for v in volumes)


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs a kubelet until cancelled."""
    config = kubeconfig.load(options.kubeconfig)
    cri = CriClient(options.container_runtime_endpoint)
    try:
        async with rest.Client(config, user_agent="navarch-kubelet") as client, tasks.Group() as group:
            kubelet = Kubelet(options, client, cri, group)
            try:
                await kubelet.run(ready)
            finally:
                await kubelet.handlers.close()
    finally:
        await cri.close()


def take_down(options: Options) -> None:
    """Removes what a stopped kubelet leaves behind on the machine: mounts and cgroups. Containers must be gone.

    The pods' folders stay: pods live on in the API, and what they wrote into their emptyDirs is theirs until they are deleted.
    """
    root = pathlib.Path(options.root_dir)
    for point in mounts.below(root):
        mounts.unmount(point)
    # A root of our own goes, too; the machine's does not.
    cgroups.remove(options.cgroup_root if options.cgroup_root.strip("/") else f"/{cgroups.KUBEPODS}")
