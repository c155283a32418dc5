"""Rules of pods, on creation and on every sort of update.

Upstream counterpart: ValidatePod* in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks, templates
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import field, pod_resources, quantity


def create(pod: core_v1.Pod) -> Found:
    """Problems of a new pod."""
    found: Found = []
    spec = pod.spec
    assert spec is not None and pod.metadata is not None
    templates.pod_spec(found, "spec", spec, pod.metadata.name or "", is_pod=True)
    _unaccounted_tokens(found, spec)
    _images(found, spec)
    if spec.ephemeralContainers:
        found.append(field.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.nodeName and spec.schedulingGates:
        found.append(field.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found


def _images(found: Found, spec: core_v1.PodSpec) -> None:
    for part in ("containers", "initContainers"):
        for i, container in enumerate(getattr(spec, part) or ()):
            if container.image and container.image != container.image.strip():
                found.append(field.invalid(f"spec.{part}[{i}].image", container.image, "must not have leading or trailing whitespace"))


def _unaccounted_tokens(found: Found, spec: core_v1.PodSpec) -> None:
    if spec.serviceAccountName:
        return
    for i, volume in enumerate(spec.volumes or ()):
        for j, source in enumerate((volume.projected.sources or ()) if volume.projected else ()):
            if source.serviceAccountToken is not None:
                path = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                found.append(field.forbidden(path, "must not be specified when serviceAccountName is not set"))


_MAY_CHANGE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def update(new: core_v1.Pod, old: core_v1.Pod) -> Found:
    """Problems of changing a pod: only images, tolerations (added), deadline and gates (fewer) may change."""
    found: Found = []
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None and new.metadata is not None
    if spec == before:
        return found
    templates.pod_spec(found, "spec", spec, new.metadata.name or "", is_pod=True)
    _images(found, spec)
    for part in ("containers", "initContainers"):
        if len(getattr(spec, part) or ()) != len(getattr(before, part) or ()):
            found.append(field.forbidden(f"spec.{part}", "pod updates may not add or remove containers"))
            return found
    if _deadline(found, spec.activeDeadlineSeconds, before.activeDeadlineSeconds):
        return found
    _only_added(found, spec.tolerations or [], before.tolerations or [])
    held_gates = {g.name for g in before.schedulingGates or ()}
    for gate in spec.schedulingGates or ():
        if gate.name not in held_gates:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            found.append(field.forbidden("spec.schedulingGates", why))
    munged = _munged(spec, before)
    if before.schedulingGates:
        munged.nodeSelector = _gated_selector(found, munged.nodeSelector, before.nodeSelector)
        munged.affinity = _gated_affinity(munged.affinity, before.affinity)
    if munged != before:
        why = f"pod updates may not change fields other than {_MAY_CHANGE}\n{templates.difference(before, munged)}"
        found.append(field.forbidden("spec", why))
    return found


def _gated_affinity(new: core_v1.Affinity | None, old: core_v1.Affinity | None) -> core_v1.Affinity | None:
    held = old.nodeAffinity if old is not None else None
    if new is None:
        return old if held is not None and old is not None and not (old.podAffinity or old.podAntiAffinity) else None
    if old is None and not (new.podAffinity or new.podAntiAffinity):
        return None
    return msgspec.structs.replace(new, nodeAffinity=held)


def _gated_selector(found: Found, new: Mapping[str, str] | None, old: dict[str, str] | None) -> dict[str, str] | None:
    """While gated, a pod's node selector may grow."""
    if any((new or {}).get(k) != v for k, v in (old or {}).items()):
        found.append(
            field.invalid("spec.nodeSelector", dict(new or {}), "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
        )
    return old


def _munged(spec: core_v1.PodSpec, before: core_v1.PodSpec) -> core_v1.PodSpec:
    """The new spec with everything that may change put back."""
    made = msgspec.structs.replace(
        spec,
        activeDeadlineSeconds=before.activeDeadlineSeconds,
        tolerations=before.tolerations,
        schedulingGates=before.schedulingGates,
    )
    for part in ("containers", "initContainers"):
        pairs = zip(getattr(spec, part) or (), getattr(before, part) or (), strict=True)
        setattr(made, part, [msgspec.structs.replace(n, image=o.image) for n, o in pairs] or None)
    if (before.terminationGracePeriodSeconds or 0) < 0 and made.terminationGracePeriodSeconds == 1:
        made.terminationGracePeriodSeconds = before.terminationGracePeriodSeconds
    return made


def _only_added(found: Found, new: Sequence[core_v1.Toleration], old: Sequence[core_v1.Toleration]) -> None:
    there = [(t.key, t.operator, t.value, t.effect) for t in new]
    if any((t.key, t.operator, t.value, t.effect) not in there for t in old):
        found.append(field.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"))


def _deadline(found: Found, new: int | None, old: int | None) -> bool:
    """Whether the deadline's change is so wrong that nothing else is looked at."""
    path = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= checks.MOST_INT32:
            found.append(field.invalid(path, new, checks.between(0, checks.MOST_INT32)))
            return True
        if old is not None and old < new:
            found.append(field.invalid(path, new, "must be less than or equal to previous value"))
            return True
    elif old is not None:
        found.append(field.invalid(path, None, "must not update from a positive integer to nil value"))
    return False


def status(new: core_v1.Pod, old: core_v1.Pod) -> Found:
    """Problems of a change of status."""
    found: Found = []
    made, held = new.status, old.status
    if made is None or held is None:
        return found
    for i, condition in enumerate(made.conditions or ()):
        if condition.observedGeneration is not None and condition.observedGeneration < 0:
            path = f"status.conditions[{i}].observedGeneration"
            found.append(field.invalid(path, condition.observedGeneration, checks.NOT_NEGATIVE))
    if made.nominatedNodeName and made.nominatedNodeName != held.nominatedNodeName:
        checks.subdomain(found, "status.nominatedNodeName", made.nominatedNodeName)
    if held.qosClass:
        checks.same(found, "status.qosClass", made.qosClass, held.qosClass)
    assert old.spec is not None
    _transitions(found, made, held, old.spec)
    for i, ip in enumerate(made.podIPs or ()):
        checks.address(found, f"status.podIPs[{i}]", ip.ip or "")
    return found


def _transitions(found: Found, made: core_v1.PodStatus, held: core_v1.PodStatus, spec: core_v1.PodSpec) -> None:
    """A container that has ended for good does not come back to life."""
    policies = {c.name: c.restartPolicy or spec.restartPolicy for c in spec.containers or () if not c.restartPolicyRules}
    now = {s.name: s for s in made.containerStatuses or ()}
    for i, before in enumerate(held.containerStatuses or ()):
        ended = before.state.terminated if before.state else None
        after = now.get(before.name)
        if ended is None or after is None or (after.state is not None and after.state.terminated is not None):
            continue
        policy = policies.get(before.name, "Always")
        if policy == "Never" or (policy == "OnFailure" and not ended.exitCode):
            path = f"status.containerStatuses[{i}].state"
            found.append(field.forbidden(path, "may not be transitioned to non-terminated state"))


def ephemeral(new: core_v1.Pod, old: core_v1.Pod) -> Found:
    """Problems of adding ephemeral containers."""
    found: Found = []
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None and new.metadata is not None and old.metadata is not None
    if "kubernetes.io/config.mirror" in (old.metadata.annotations or {}):
        return [field.forbidden("", "static pods do not support ephemeral containers")]
    templates.pod_spec(found, "spec", spec, new.metadata.name or "", is_pod=True)
    wanted = {c.name: c for c in spec.ephemeralContainers or ()}
    for container in before.ephemeralContainers or ():
        kept = wanted.get(container.name)
        if kept is None:
            why = f'existing ephemeral containers "{container.name}" may not be removed\n'
            found.append(field.forbidden("spec.ephemeralContainers", why))
        elif kept != container:
            why = f'existing ephemeral containers "{container.name}" may not be changed\n{templates.difference(container, kept)}'
            found.append(field.forbidden("spec.ephemeralContainers", why))
    return found


def resize(new: core_v1.Pod, old: core_v1.Pod) -> Found:
    """Problems of changing the resources of running containers: only CPU and memory, and never the quality of service."""
    found: Found = []
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None and new.metadata is not None and old.metadata is not None
    if "kubernetes.io/config.mirror" in (old.metadata.annotations or {}):
        return [field.forbidden("", "static pods cannot be resized")]
    templates.pod_spec(found, "spec", spec, new.metadata.name or "", is_pod=True)
    if old.status is not None and old.status.qosClass and pod_resources.quality(spec) != old.status.qosClass:
        shown = pod_resources.quality(spec)
        found.append(field.invalid("spec", shown, "Pod QOS Class may not change as a result of resizing"))
    for part in ("containers", "initContainers"):
        fresh, held = getattr(spec, part) or (), getattr(before, part) or ()
        if [c.name for c in fresh] != [c.name for c in held]:
            found.append(field.forbidden("spec", "only cpu and memory resources are mutable"))
            return found
        for i, (n, o) in enumerate(zip(fresh, held, strict=True)):
            _resized(found, f"spec.{part}[{i}].resources", n.resources, o.resources)
    return found


_RESIZABLE = ("cpu", "memory")


def _resized(found: Found, at: str, new: core_v1.ResourceRequirements | None, old: core_v1.ResourceRequirements | None) -> None:
    for part in ("requests", "limits"):
        fresh = (getattr(new, part) if new else None) or {}
        held = (getattr(old, part) if old else None) or {}
        for name in {*fresh, *held}:
            if name in _RESIZABLE:
                if name in held and name not in fresh:
                    found.append(field.forbidden(f"{at}.{part}", f"resource {part} cannot be removed"))
            elif name not in fresh or name not in held or quantity.compare(fresh[name], held[name]):
                found.append(field.forbidden("spec", "only cpu and memory resources are mutable"))
