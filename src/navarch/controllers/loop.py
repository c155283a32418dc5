"""The controller manager's life: wait for the API server, become leader, run the controllers until the lead is lost."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

from navarch.client import identity, kubeconfig, leading, readiness
from navarch.client.events import Recorder
from navarch.client.lease import Election
from navarch.client.rest import Client
from navarch.controllers import table
from navarch.controllers.engine.context import Context, Settings
from navarch.controllers.engine.runner import Runner
from navarch.controllers.options import Options
from navarch.lib import tasks

_log = logging.getLogger(__name__)


__all__ = ["Options", "run"]


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs until cancelled. leading.LeadLost when the lease could not be kept."""
    config = kubeconfig.load(options.kubeconfig)

    async def work(group: tasks.Group) -> None:
        await _start(options, client, config.ca, group)
        ready()

    async with Client(config, user_agent="kube-controller-manager", connections=128) as client:
        await readiness.wait(client)
        with identity.held(options.leader_elect_identity_file) as name:
            await leading.lead(client, Election("kube-controller-manager", name) if options.leader_elect else None, work)


async def _start(options: Options, client: Client, ca: bytes, group: tasks.Group) -> None:
    root_ca = pathlib.Path(options.root_ca_file).read_text() if options.root_ca_file else ca.decode()
    recorder = Recorder(client, "controller-manager")
    context = Context(client, recorder, settings(options, root_ca))
    controllers = [make(context) for make in table.chosen(options.controllers).values()]
    runners = [Runner(controller, context) for controller in controllers]
    group.start("events", recorder.run())
    await context.run(group)
    for runner in runners:
        await runner.run(group)


def settings(options: Options, root_ca: str) -> Settings:
    """What controllers read of the flags."""
    return Settings(
        root_ca,
        options.cluster_cidr,
        options.node_cidr_mask_size,
        options.terminated_pod_gc_threshold,
        options.service_cluster_ip_range,
        options.cluster_signing_cert_file,
        options.cluster_signing_key_file,
        options.cluster_signing_duration,
    )
