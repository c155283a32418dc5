"""Subresources that somebody else answers: the kubelet (log, exec, attach, portforward, nodes/proxy), a pod or a service (proxy).

Upstream counterparts: pkg/registry/core/pod/{rest,strategy} (locations) and service/node proxy storages.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from navarch.api.core import v1 as core_v1
from navarch.apiserver.answers import Answer, Document, Forward, LogSocket, Tunnel
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.call import Call
from navarch.apiserver.kubelets import Kubelets
from navarch.apiserver.served import Served
from navarch.apiserver.subresource import connecting
from navarch.apiserver.verbs import get
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.lib import integers
from navarch.machinery import codec, errors, field

_STREAMS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}


def _pod(call: Call, served: Served) -> core_v1.Pod:
    entry = get.entry_of(served, call.info.name, call.info.namespace)
    return codec.decode(core_v1.Pod, entry.body)


def _containers(pod: core_v1.Pod) -> list[str]:
    spec = pod.spec or core_v1.PodSpec()
    every = (*(spec.containers or ()), *(spec.initContainers or ()), *(spec.ephemeralContainers or ()))
    return [c.name or "" for c in every]


def _container(call: Call, pod: core_v1.Pod) -> str:
    """The container asked for, or the only one. BadRequest when that is not clear."""
    assert pod.metadata is not None
    name = call.query.get("container")
    known = _containers(pod)
    if name:
        if name not in known:
            raise errors.BadRequest(f"container {name} is not valid for pod {pod.metadata.name}")
        return name
    spec = pod.spec or core_v1.PodSpec()
    main = [c.name or "" for c in spec.containers or ()]
    if len(main) == 1:
        return main[0]
    if not main:
        raise errors.BadRequest(f"a container name must be specified for pod {pod.metadata.name}")
    default = (pod.metadata.annotations or {}).get("kubectl.kubernetes.io/default-container", "")
    if call.info.subresource == "log" or default not in main:
        init = [c.name or "" for c in spec.initContainers or ()]
        choices = f"choose one of: [{' '.join(main)}]" + (f" or one of the init containers: [{' '.join(init)}]" if init else "")
        raise errors.BadRequest(f"a container name must be specified for pod {pod.metadata.name}, {choices}")
    return default


async def log(kubelets: Kubelets, call: Call, served: Served) -> Answer:
    """The container's log, as the kubelet streams it."""
    if call.info.verb != "get":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    pod = _pod(call, served)
    _check_log_options(call)
    container = _container(call, pod)
    assert pod.metadata is not None and pod.spec is not None
    if not pod.spec.nodeName:
        return Document(b"", media="text/plain")
    target = kubelets.target(pod.spec.nodeName, verify=not call.query.flag("insecureSkipTLSVerifyBackend"))
    path = f"/containerLogs/{pod.metadata.namespace}/{pod.metadata.name}/{container}"
    query = [(k, v) for k, v in call.query.items() if k not in ("container", "insecureSkipTLSVerifyBackend", "pretty", "timeout")]

    def refusal(code: int, text: str) -> errors.ApiError:
        return errors.answered(code, "pods/log", call.info.name, text)

    if call.upgrade_wanted:
        return LogSocket(target, _with(path, query), refusal)
    return Forward(target, _with(path, query), refusal=refusal)


def _check_log_options(call: Call) -> None:
    problems = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        if name not in call.query:
            continue
        try:
            value = integers.required(call.query.get(name))
        except ValueError as error:
            raise errors.BadRequest(str(error)) from None
        if value < least:
            detail = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            problems.append(field.invalid(name, value, detail))
    if "sinceSeconds" in call.query and "sinceTime" in call.query:
        problems.append(field.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if problems:
        raise field.invalid_error("", "PodLogOptions", call.info.name, problems)


def _with(path: str, query: list[tuple[str, str]]) -> str:
    return f"{quote(path)}?{urlencode(query)}" if query else quote(path)


async def stream(writer: Writer, authorizer: Authorizer, kubelets: Kubelets, call: Call, served: Served) -> Answer:
    """exec, attach, portforward: an upgraded connection handed over to the kubelet."""
    if call.info.verb not in ("create", "get"):
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    _may_create(authorizer, call)
    what = call.info.subresource
    await writer.admit(author_of(call), served, "CONNECT", call.info.name, call.info.namespace, connecting.options(call), what)
    pod = _pod(call, served)
    assert pod.metadata is not None and pod.spec is not None
    path = f"/{_STREAMS[what]}/{pod.metadata.namespace}/{pod.metadata.name}"
    query = list(call.query.items())
    if what != "portforward":
        container = _container(call, pod)
        path += f"/{container}"
        query = [(_KUBELET_NAMES.get(k, k), "1" if v == "true" else v) for k, v in query if k != "container"]
    if not pod.spec.nodeName:
        raise errors.BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
    if pod.status is not None and pod.status.phase in ("Succeeded", "Failed") and what != "portforward":
        raise errors.BadRequest(f"cannot {what} into a container in a completed pod; current phase is {pod.status.phase}")
    target = kubelets.target(pod.spec.nodeName)
    if not call.upgrade_wanted:
        raise errors.BadRequest("Upgrade request required")
    return Tunnel(target, _with(path, query))


def _may_create(authorizer: Authorizer, call: Call) -> None:
    """Whoever runs commands creates something, also by a WebSocket, which can only GET: to read pods/exec is not enough."""
    info = call.info
    if info.verb == "create":
        return
    verdict = authorizer.decide(call.user, Question("create", "", info.plural, info.subresource, info.namespace, info.name, "", "v1"))
    if not verdict.allowed:
        raise errors.forbidden("", info.plural, info.name, verdict.reason)


_KUBELET_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error"}
