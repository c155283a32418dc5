"""PodSecurity: what a namespace's labels let its pods do: everything (privileged), nothing that reaches the host (baseline), or
next to nothing (restricted).

Labels: `pod-security.kubernetes.io/enforce`, `warn` and `audit` name a level each, and with `-version` the Kubernetes version whose
checks count. Pods that break the enforced level are refused, those that break the warned one are told of in a Warning header; so are
the templates of workloads, and the pods there are when a namespace becomes stricter. What the labels leave open, and who is exempt, is
in the file of `--admission-control-config-file`.

Upstream counterpart: k8s.io/pod-security-admission/{admission,api}.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission import podchecks
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import codec
from navarch.machinery import field as fields

_LABEL = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_HOLDERS = frozenset(
    {
        ("", "podtemplates"), ("", "replicationcontrollers"), ("apps", "daemonsets"), ("apps", "deployments"), ("apps", "replicasets"),
        ("apps", "statefulsets"), ("batch", "cronjobs"), ("batch", "jobs"),
    }
)  # fmt: skip
_FREE_SUBRESOURCES = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,3})")
_MOST_PODS, _MOST_SECONDS, _PODS_AT_ONCE = 3000, 1.0, 100


@dataclass(frozen=True, slots=True)
class Level:
    """A level as of a version: `v1.N`, or None for the latest."""

    name: str = "privileged"
    minor: int | None = None

    def __str__(self) -> str:
        return f"{self.name}:{'latest' if self.minor is None else f'v1.{self.minor}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace asks for."""

    enforce: Level = Level()
    audit: Level = Level()
    warn: Level = Level()

    @property
    def privileged(self) -> bool:
        return self.enforce.name == self.audit.name == self.warn.name == "privileged"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What counts where labels say nothing, and whom it does not concern."""

    defaults: Policy = field(default_factory=Policy)
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


class Parts(Protocol):
    """What pods are judged by: their namespaces, and what counts where labels say nothing."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def pod_security(self) -> Configuration: ...


def parse_level(text: str) -> str | None:
    return text if text in _LEVELS else None


def parse_version(text: str) -> tuple[int | None, bool]:
    """The minor version (None: the latest), and whether the text writes one."""
    if text == "latest":
        return None, True
    found = _VERSION.fullmatch(text)
    return (int(found[1]), True) if found is not None else (None, False)


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[fields.Problem]]:
    """What a namespace's labels ask for, and what of them cannot be read: then as strict as can be is enforced, and nothing warned."""
    if not any(label.startswith(_LABEL) for label in labels):
        return defaults, []
    problems: list[fields.Problem] = []
    levels: dict[str, Level] = {}
    good_enforce = False
    for mode in ("enforce", "audit", "warn"):
        held: Level = getattr(defaults, mode)
        if (text := labels.get(_LABEL + mode)) is not None:
            name = parse_level(text)
            good_enforce |= mode == "enforce" and name is not None
            held = replace(held, name=name or ("restricted" if mode == "enforce" else "privileged"))
            if name is None:
                problems.append(_problem(mode, text, f"must be one of {', '.join(_LEVELS)}"))
        if (text := labels.get(f"{_LABEL}{mode}-version")) is not None:
            minor, good = parse_version(text)
            held = replace(held, minor=minor)
            if not good:
                problems.append(_problem(f"{mode}-version", text, 'must be "latest" or "v1.x"'))
        levels[mode] = held
    if _LABEL + "warn" not in labels and good_enforce and _LEVELS.index(levels["enforce"].name) > _LEVELS.index(levels["warn"].name):
        unversioned = f"{_LABEL}warn-version" not in labels
        levels["warn"] = levels["enforce"] if unversioned else replace(levels["warn"], name=levels["enforce"].name)
    return Policy(**levels), problems


def _problem(label: str, value: str, why: str) -> fields.Problem:
    return fields.invalid(f"metadata.labels[{_LABEL}{label}]", value, why)


async def check(attributes: Attributes, parts: Parts) -> None:
    """Refuses or warns, by the labels of the namespace."""
    if attributes.operation not in ("CREATE", "UPDATE"):
        return
    if attributes.key == ("", "namespaces"):
        await _namespace(attributes, parts)
    elif attributes.key == ("", "pods"):
        if attributes.subresource not in _FREE_SUBRESOURCES:
            _pod(attributes, parts)
    elif attributes.key in _HOLDERS and not attributes.subresource:
        _controller(attributes, parts)


def _policy(attributes: Attributes, parts: Parts) -> Policy | None:
    """What counts for a request; None when it is exempt."""
    configured = parts.pod_security
    if attributes.namespace in configured.namespaces or attributes.user.name in configured.usernames:
        return None
    entry = parts.catalog.of("", "namespaces").cache.get(attributes.namespace)
    return policy_of(entry.labels if entry is not None else {}, configured.defaults)[0]


def _pod(attributes: Attributes, parts: Parts) -> None:
    policy = _policy(attributes, parts)
    pod: core_v1.Pod = attributes.obj
    if policy is None or policy.privileged or pod.spec is None:
        return
    if attributes.operation == "UPDATE" and attributes.old is not None and not _matters(pod.spec, attributes.old.spec):
        return
    if pod.spec.runtimeClassName in parts.pod_security.runtime_classes:
        return
    if found := _broken(pod.metadata, pod.spec, policy.enforce):
        raise refuse(attributes, f'violates PodSecurity "{policy.enforce}": {_said(found)}')
    _warn(attributes, pod.metadata, pod.spec, policy.warn)


def _controller(attributes: Attributes, parts: Parts) -> None:
    policy = _policy(attributes, parts)
    if policy is None or policy.warn.name == "privileged":
        return
    template = _template(attributes)
    if template is None or template.spec is None or template.spec.runtimeClassName in parts.pod_security.runtime_classes:
        return
    _warn(attributes, template.metadata, template.spec, policy.warn)


def _broken(metadata: meta_v1.ObjectMeta | None, spec: core_v1.PodSpec, level: Level) -> list[podchecks.Broken]:
    return podchecks.evaluate(metadata.annotations if metadata is not None else None, spec, level.name, level.minor)


def _said(found: Sequence[podchecks.Broken]) -> str:
    return ", ".join(map(str, found))


def _warn(attributes: Attributes, metadata: meta_v1.ObjectMeta | None, spec: core_v1.PodSpec, level: Level) -> None:
    if found := _broken(metadata, spec, level):
        attributes.warnings.append(f'would violate PodSecurity "{level}": {_said(found)}')


def _template(attributes: Attributes) -> core_v1.PodTemplateSpec | None:
    obj = attributes.obj
    if attributes.key == ("", "podtemplates"):
        found: core_v1.PodTemplateSpec | None = obj.template
    elif attributes.key == ("batch", "cronjobs"):
        found = obj.spec.jobTemplate.spec.template if obj.spec and obj.spec.jobTemplate and obj.spec.jobTemplate.spec else None
    else:
        found = obj.spec.template if obj.spec else None
    return found


def _matters(new: core_v1.PodSpec, old: core_v1.PodSpec) -> bool:
    """Whether an update changed what the checks look at: images, and which containers there are."""
    for after, before in ((new.containers or [], old.containers or []), (new.initContainers or [], old.initContainers or [])):
        if [c.image for c in after] != [c.image for c in before]:
            return True
    held = {c.name: c.image for c in old.ephemeralContainers or ()}
    return any(c.name not in held or held[c.name] != c.image for c in new.ephemeralContainers or ())


# ---- namespaces ----


async def _namespace(attributes: Attributes, parts: Parts) -> None:
    """Labels must be readable. A namespace that becomes stricter is told which of its pods would not be let in again."""
    if attributes.subresource:
        return
    configured = parts.pod_security
    labels = attributes.obj.metadata.labels or {}
    policy, problems = policy_of(labels, configured.defaults)
    before: Policy | None = None
    if attributes.operation == "UPDATE":
        before, known = policy_of(attributes.old.metadata.labels or {}, configured.defaults)
        problems = [] if problems == known else problems
    name = attributes.obj.metadata.name or ""
    if problems:
        raise fields.invalid_error("", "Namespace", name, problems)
    if before is not None and not _stricter(policy.enforce, before.enforce):
        return
    if name in configured.namespaces:
        if not policy.privileged and policy != configured.defaults:
            attributes.warnings.append(_ignored(name, policy, labels))
    elif before is not None:
        attributes.warnings += await _pods_that_break(parts, name, policy.enforce)


def _stricter(after: Level, before: Level) -> bool:
    if after == before or after.name == "privileged":
        return False
    return after.minor != before.minor or _LEVELS.index(after.name) > _LEVELS.index(before.name)


def _ignored(name: str, policy: Policy, labels: Mapping[str, str]) -> str:
    said = [
        f"{mode}={level}"
        for mode, level in (("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn))
        if level.name != "privileged" and (_LABEL + mode in labels or f"{_LABEL}{mode}-version" in labels)
    ]
    return f'namespace "{name}" is exempt from Pod Security, and the policy ({", ".join(said)}) will be ignored'


async def _pods_that_break(parts: Parts, namespace: str, level: Level) -> list[str]:
    """Warnings about the pods there are: one of each controller first, no more than a second's worth."""
    entries = parts.catalog.of("", "pods").cache.select(Scope(namespace))
    deadline = time.monotonic() + _MOST_SECONDS
    pods: list[core_v1.Pod] = []
    for at in range(0, min(len(entries), _MOST_PODS), _PODS_AT_ONCE):
        pods += [codec.decode(core_v1.Pod, e.body) for e in entries[at : at + _PODS_AT_ONCE]]
        await asyncio.sleep(0)
    ordered = _one_of_each_first(pods, parts.pod_security.runtime_classes)
    total = len(ordered) + max(len(entries) - _MOST_PODS, 0)
    names: dict[str, list[str]] = {}
    checked = 0
    for pod in ordered:
        if checked % _PODS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if time.monotonic() > deadline:
            break
        checked += 1
        assert pod.spec is not None and pod.metadata is not None
        if found := _broken(pod.metadata, pod.spec, level):
            names.setdefault(", ".join(b.reason for b in found), []).append(pod.metadata.name or "")
    warnings = []
    if checked < total:
        warnings.append(f"new PodSecurity enforce level only checked against the first {checked} of {total} existing pods")
    if names:
        warnings.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}"')
    return [*warnings, *sorted(f"{_several(sorted(held))}: {reason}" for reason, held in names.items())]


def _one_of_each_first(pods: Sequence[core_v1.Pod], exempt: frozenset[str]) -> list[core_v1.Pod]:
    first: list[core_v1.Pod] = []
    more: list[core_v1.Pod] = []
    seen: set[str] = set()
    for pod in pods:
        if pod.spec is None or pod.metadata is None or pod.spec.runtimeClassName in exempt:
            continue
        owner = next((o.uid or "" for o in pod.metadata.ownerReferences or () if o.controller), "")
        (more if owner and owner in seen else first).append(pod)
        seen.add(owner)
    return first + more


def _several(names: Sequence[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{names[0]} (and {others} other pod{'s' * (others != 1)})"
