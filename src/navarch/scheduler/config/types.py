"""The shape of a KubeSchedulerConfiguration file: names, types, defaults; nothing else is accepted.

Upstream counterpart: k8s.io/kube-scheduler/config/v1 (kubescheduler.config.k8s.io/v1) and the parts of component-base/config/v1alpha1
that it embeds. Durations stay strings here, as they do in API objects.
"""

from __future__ import annotations

from typing import Any

from navarch.api.scalars import Int32, Int64, Object

VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"


class LeaderElection(Object):
    leaderElect: bool | None = None
    leaseDuration: str | None = None
    renewDeadline: str | None = None
    retryPeriod: str | None = None
    resourceLock: str | None = None
    resourceName: str | None = None
    resourceNamespace: str | None = None


class ClientConnection(Object):
    kubeconfig: str | None = None
    acceptContentTypes: str | None = None
    contentType: str | None = None
    qps: float | None = None
    burst: Int32 | None = None


class PluginEntry(Object):
    name: str = ""
    weight: Int32 | None = None


class PluginSet(Object):
    enabled: list[PluginEntry] | None = None
    disabled: list[PluginEntry] | None = None


class Plugins(Object):
    preEnqueue: PluginSet | None = None
    queueSort: PluginSet | None = None
    preFilter: PluginSet | None = None
    filter: PluginSet | None = None
    postFilter: PluginSet | None = None
    preScore: PluginSet | None = None
    score: PluginSet | None = None
    reserve: PluginSet | None = None
    permit: PluginSet | None = None
    preBind: PluginSet | None = None
    bind: PluginSet | None = None
    postBind: PluginSet | None = None
    multiPoint: PluginSet | None = None
    placementGenerate: PluginSet | None = None
    placementScore: PluginSet | None = None


class PluginConfig(Object):
    name: str = ""
    args: Any = None


class Profile(Object):
    schedulerName: str | None = None
    percentageOfNodesToScore: Int32 | None = None
    plugins: Plugins | None = None
    pluginConfig: list[PluginConfig] | None = None


class ManagedResource(Object):
    name: str = ""
    ignoredByScheduler: bool | None = None


class TLSConfig(Object):
    insecure: bool | None = None
    serverName: str | None = None
    certFile: str | None = None
    keyFile: str | None = None
    caFile: str | None = None
    certData: str | None = None
    keyData: str | None = None
    caData: str | None = None


class Extender(Object):
    urlPrefix: str = ""
    filterVerb: str | None = None
    preemptVerb: str | None = None
    prioritizeVerb: str | None = None
    weight: Int64 | None = None
    bindVerb: str | None = None
    enableHTTPS: bool | None = None
    tlsConfig: TLSConfig | None = None
    httpTimeout: str | None = None
    nodeCacheCapable: bool | None = None
    managedResources: list[ManagedResource] | None = None
    ignorable: bool | None = None


class KubeSchedulerConfiguration(Object):
    apiVersion: str | None = None
    kind: str | None = None
    parallelism: Int32 | None = None
    leaderElection: LeaderElection | None = None
    clientConnection: ClientConnection | None = None
    enableProfiling: bool | None = None
    enableContentionProfiling: bool | None = None
    percentageOfNodesToScore: Int32 | None = None
    podInitialBackoffSeconds: Int64 | None = None
    podMaxBackoffSeconds: Int64 | None = None
    profiles: list[Profile] | None = None
    extenders: list[Extender] | None = None
    delayCacheUntilActive: bool | None = None
