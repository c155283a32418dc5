"""StatefulSets in a world of values: writes fail at random, the cache lags, pods live and die; the order of ordinals holds at every step."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import retention, revisions, statefulsets
from navarch.controllers.engine.expectations import Expectations
from navarch.objects import meta, ownership, pods

NOW = 1_700_000_000.0
LONG_AGO = "2020-01-01T00:00:00Z"


def stateful_set(replicas: int = 3, image: str = "one", claims: bool = False, **spec: Any) -> apps_v1.StatefulSet:
    template = core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels={"app": "s"}), spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image=image)])
    )
    spec.setdefault(
        "updateStrategy",
        apps_v1.StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=apps_v1.RollingUpdateStatefulSetStrategy(partition=0)),
    )
    if claims:
        claim = core_v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="data"), spec=core_v1.PersistentVolumeClaimSpec())
        spec["volumeClaimTemplates"] = [claim]
    return apps_v1.StatefulSet(
        metadata=meta_v1.ObjectMeta(name="s", namespace="n", uid="set", generation=1),
        spec=apps_v1.StatefulSetSpec(
            replicas=replicas, selector=meta_v1.LabelSelector(matchLabels={"app": "s"}), template=template, serviceName="s", **spec
        ),
    )


class World:
    """What is there: the set, its pods, claims and revisions. Steps are done on it, or fail."""

    def __init__(self, owner: apps_v1.StatefulSet) -> None:
        self.owner = owner
        self.pods: dict[str, core_v1.Pod] = {}
        self.claims: dict[str, core_v1.PersistentVolumeClaim] = {}
        self.revisions: list[apps_v1.ControllerRevision] = []
        self._uids = itertools.count(1)
        self.removed: list[str] = []

    def history(self) -> statefulsets.Revisions:
        template = statefulsets.spec_of(self.owner).template
        assert template is not None
        match revisions.decide(self.revisions, template):
            case revisions.Unchanged(update):
                pass
            case revisions.Renumber(revision, number):
                update = msgspec.structs.replace(revision, revision=number)
                self.revisions = [r for r in self.revisions if r is not revision] + [update]
            case revisions.Create(number):
                update = revisions.made(self.owner, template, number, 0, "controller.kubernetes.io/hash")
                self.revisions.append(update)
        return statefulsets.Revisions(statefulsets.current_of(self.owner, self.revisions, update), update)

    def decide(self, seen: list[core_v1.Pod] | None = None, *, caught_up: bool = True) -> statefulsets.Plan:
        every = list(self.pods.values()) if seen is None else seen
        return statefulsets.decide(self.owner, every, self.claims.get, self.history(), NOW, caught_up=caught_up)

    def do(self, step: statefulsets.Step) -> None:
        match step:
            case statefulsets.CreatePod(pod, claims):
                self._make_claims(claims)
                name = meta.of(pod).name or ""
                assert name not in self.pods, f"{name} was made twice"
                metadata = msgspec.structs.replace(meta.of(pod), uid=f"u{next(self._uids)}")
                self.pods[name] = msgspec.structs.replace(pod, metadata=metadata, status=core_v1.PodStatus(phase="Pending"))
            case statefulsets.DeletePod(pod):
                name = meta.of(pod).name or ""
                held = self.pods.get(name)
                if held is not None and meta.of(held).uid == meta.of(pod).uid:
                    self.removed.append(name)
                    metadata = msgspec.structs.replace(meta.of(held), deletionTimestamp=LONG_AGO)
                    self.pods[name] = msgspec.structs.replace(held, metadata=metadata)
            case statefulsets.UpdatePod(pod, claims):
                self._make_claims(claims)
                self.pods[meta.of(pod).name or ""] = pod
            case statefulsets.CreateClaims(_, claims):
                self._make_claims(claims)
            case statefulsets.UpdateClaim(claim, _, _):
                self.claims[meta.of(claim).name or ""] = claim

    def _make_claims(self, claims: tuple[core_v1.PersistentVolumeClaim, ...]) -> None:
        for claim in claims:
            self.claims.setdefault(meta.of(claim).name or "", claim)

    def live(self, name: str, life: str) -> None:
        """A pod becomes ready, breaks, fails, or is gone for good when it was being deleted."""
        pod = self.pods[name]
        if meta.deleted(pod):
            del self.pods[name]
            return
        ready = core_v1.PodCondition(type="Ready", status="True" if life == "Ready" else "False", lastTransitionTime=LONG_AGO)
        phase = "Running" if life in ("Ready", "Broken") else "Failed"
        self.pods[name] = msgspec.structs.replace(pod, status=core_v1.PodStatus(phase=phase, conditions=[ready]))

    def settle(self, most: int = 200) -> None:
        """Runs without failures until nothing is left to do."""
        for _ in range(most):
            plan = self.decide()
            for step in plan.steps:
                self.do(step)
            self.owner = msgspec.structs.replace(self.owner, status=plan.status)
            moving = [n for n, p in self.pods.items() if meta.deleted(p) or not pods.is_ready(p) or statefulsets.phase(p) != "Running"]
            for name in moving:
                self.live(name, "Ready")
            if not plan.steps and not moving:
                return
        raise AssertionError("it does not come to rest")

    def images(self) -> dict[str, str | None]:
        return {n: p.spec.containers[0].image for n, p in sorted(self.pods.items()) if p.spec is not None and p.spec.containers}

    def change(self, image: str) -> None:
        fresh = statefulsets.spec_of(stateful_set(image=image)).template
        self.owner = msgspec.structs.replace(self.owner, spec=msgspec.structs.replace(statefulsets.spec_of(self.owner), template=fresh))

    def scale(self, replicas: int) -> None:
        self.owner = msgspec.structs.replace(self.owner, spec=msgspec.structs.replace(statefulsets.spec_of(self.owner), replicas=replicas))


def strategy(**rolling: Any) -> apps_v1.StatefulSetUpdateStrategy:
    return apps_v1.StatefulSetUpdateStrategy(
        type="RollingUpdate", rollingUpdate=apps_v1.RollingUpdateStatefulSetStrategy(**{"partition": 0, **rolling})
    )


def test_an_ordered_set_makes_one_pod_at_a_time_and_removes_the_highest_first() -> None:
    world = World(stateful_set(3))
    assert [meta.of(s.pod).name for s in world.decide().steps if isinstance(s, statefulsets.CreatePod)] == ["s-0"]
    world.settle()
    assert sorted(world.pods) == ["s-0", "s-1", "s-2"]
    world.scale(1)
    assert [s for s in world.decide().steps] == [statefulsets.DeletePod(world.pods["s-2"])]
    world.settle()
    assert sorted(world.pods) == ["s-0"] and world.removed == ["s-2", "s-1"]


def test_pods_have_the_identity_of_their_ordinal_and_start_where_they_are_told_to() -> None:
    world = World(stateful_set(2, claims=True, ordinals=apps_v1.StatefulSetOrdinals(start=5)))
    world.settle()
    pod = world.pods["s-5"]
    assert sorted(world.pods) == ["s-5", "s-6"] and sorted(world.claims) == ["data-s-5", "data-s-6"]
    labels = meta.of(pod).labels or {}
    assert labels[statefulsets.POD_NAME_LABEL] == "s-5" and labels[statefulsets.INDEX_LABEL] == "5"
    assert pod.spec is not None and (pod.spec.hostname, pod.spec.subdomain) == ("s-5", "s")
    assert [v.persistentVolumeClaim.claimName for v in pod.spec.volumes or () if v.persistentVolumeClaim] == ["data-s-5"]


def test_a_partition_keeps_lower_ordinals_at_the_current_revision() -> None:
    world = World(stateful_set(3, updateStrategy=strategy(partition=2)))
    world.settle()
    world.change("two")
    world.settle()
    assert world.images() == {"s-0": "one", "s-1": "one", "s-2": "two"}
    world.live("s-0", "Failed")
    world.settle()
    assert world.images() == {"s-0": "one", "s-1": "one", "s-2": "two"}, "a pod below the partition comes back as it was"


def test_on_delete_replaces_nothing_by_itself() -> None:
    world = World(stateful_set(2, updateStrategy=apps_v1.StatefulSetUpdateStrategy(type="OnDelete")))
    world.settle()
    world.change("two")
    world.settle()
    assert set(world.images().values()) == {"one"}
    world.do(statefulsets.DeletePod(world.pods["s-0"]))
    world.settle()
    assert world.images() == {"s-0": "two", "s-1": "one"}


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_a_good_revision_replaces_a_broken_one_that_is_taken_back(policy: str) -> None:
    world = World(stateful_set(3, podManagementPolicy=policy))
    world.settle()
    world.change("broken")
    for step in world.decide().steps:
        world.do(step)
    world.live("s-2", "gone")
    for step in world.decide().steps:
        world.do(step)
    world.live("s-2", "Broken")
    world.change("one")
    plan = world.decide()
    expected = [] if policy == "OrderedReady" else [statefulsets.DeletePod(world.pods["s-2"])]
    assert list(plan.steps) == expected, "an ordered set waits for somebody to delete the pod, as upstream's does"
    world.do(statefulsets.DeletePod(world.pods["s-2"]))
    world.settle()
    assert set(world.images().values()) == {"one"} and len(world.revisions) == 2


@pytest.mark.parametrize(("scaled", "deleted"), list(itertools.product(["Retain", "Delete"], repeat=2)))
def test_claims_are_owned_as_the_retention_policy_says(scaled: str, deleted: str) -> None:
    policy = apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy(whenScaled=scaled, whenDeleted=deleted)
    world = World(stateful_set(2, claims=True, persistentVolumeClaimRetentionPolicy=policy))
    world.settle()

    def owners(name: str) -> list[str | None]:
        return [o.kind for o in meta.of(world.claims[name]).ownerReferences or ()]

    assert owners("data-s-1") == (["StatefulSet"] if deleted == "Delete" else [])
    world.scale(1)
    world.settle()
    away = ["Pod"] if scaled == "Delete" else ["StatefulSet"] if deleted == "Delete" else []
    assert owners("data-s-1") == away and owners("data-s-0") == (["StatefulSet"] if deleted == "Delete" else [])


def test_a_claim_of_somebody_else_is_left_alone() -> None:
    policy = apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy(whenScaled="Delete", whenDeleted="Delete")
    owner = stateful_set(1, claims=True, persistentVolumeClaimRetentionPolicy=policy)
    other = meta_v1.OwnerReference(apiVersion="v1", kind="ConfigMap", name="other", uid="o", controller=True)
    pod = core_v1.Pod(metadata=meta_v1.ObjectMeta(name="s-0", uid="p"))
    claim = core_v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="data-s-0", ownerReferences=[other]))
    assert retention.brought_in_line(claim, owner, pod, scaled_away=False) is None
    claim = core_v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="data-s-0", ownerReferences=[other, ownership.reference(owner)]))
    changed = retention.brought_in_line(claim, owner, pod, scaled_away=False)
    assert changed is not None and meta.of(changed).ownerReferences == [other]


SETS = st.builds(
    lambda replicas, parallel, unavailable, partition, claims: stateful_set(
        replicas,
        claims=claims,
        podManagementPolicy="Parallel" if parallel else "OrderedReady",
        updateStrategy=strategy(partition=partition, maxUnavailable=unavailable),
    ),
    st.integers(0, 5), st.booleans(), st.sampled_from([None, 1, 2, "50%"]), st.integers(0, 2), st.booleans(),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(SETS, st.integers(0, 2**32))
def test_invariants_hold_at_every_step_whatever_fails(owner: apps_v1.StatefulSet, seed: int) -> None:
    """The order of ordinals, no more gone than may be, nothing twice; and in the end it is as the manifest says, with nothing left to do."""
    chance = random.Random(seed)
    world, expected = World(owner), Expectations()
    seen = list(world.pods.values())
    for _ in range(60):
        if chance.random() < 0.7:
            seen = list(world.pods.values())
            for pod in seen:
                expected.created("k", 0)
                if meta.deleted(pod):
                    expected.deleted("k", meta.of(pod).uid or "")
            there = {meta.of(p).uid or "" for p in seen if not meta.deleted(p)}
            held = expected._awaited.get("k")
            if held is not None:
                held.creations, held.deletions = 0, held.deletions & there
        plan = world.decide(seen, caught_up=expected.fulfilled("k", 0.0))
        assert_in_order(world, plan, seen)
        acted = [s for s in plan.steps if isinstance(s, statefulsets.CreatePod | statefulsets.DeletePod)]
        if acted:
            expected.expect(
                "k",
                sum(isinstance(s, statefulsets.CreatePod) for s in acted),
                [meta.of(s.pod).uid or "" for s in acted if isinstance(s, statefulsets.DeletePod)],
                0.0,
            )
        for step in plan.steps:
            if chance.random() < 0.2:
                expected.forget("k")
                seen = list(world.pods.values())
                break
            world.do(step)
        world.owner = msgspec.structs.replace(world.owner, status=plan.status)
        match chance.randrange(10):
            case 0:
                world.change(chance.choice(["one", "two", "three"]))
            case 1:
                world.scale(chance.randrange(6))
            case _:
                for name in [n for n in world.pods if chance.random() < 0.5]:
                    world.live(name, chance.choice(["Ready", "Ready", "Ready", "Broken", "Failed"]))
    world.settle()
    spec = statefulsets.spec_of(world.owner)
    assert sorted(world.pods) == sorted(f"s-{i}" for i in range(spec.replicas or 0)) and world.decide().steps == ()


def assert_in_order(world: World, plan: statefulsets.Plan, seen: list[core_v1.Pod]) -> None:
    spec = statefulsets.spec_of(world.owner)
    total = spec.replicas or 0
    ready = {statefulsets.ordinal_of(world.owner, p) for p in seen if pods.is_ready(p) and not meta.deleted(p)}
    made = [statefulsets.ordinal_of(world.owner, s.pod) or 0 for s in plan.steps if isinstance(s, statefulsets.CreatePod)]
    gone = [s.pod for s in plan.steps if isinstance(s, statefulsets.DeletePod) and not pods.finished(s.pod)]
    assert len(set(made)) == len(made)
    updated = [p for p in gone if (statefulsets.ordinal_of(world.owner, p) or 0) < total]
    rolling = spec.updateStrategy.rollingUpdate if spec.updateStrategy else None
    assert all((statefulsets.ordinal_of(world.owner, p) or 0) >= ((rolling.partition if rolling else 0) or 0) for p in updated)
    most = {None: 1, 1: 1, 2: 2, "50%": max(1, total // 2)}[rolling.maxUnavailable if rolling else None]
    assert len(updated) <= most
    if spec.podManagementPolicy == "OrderedReady":
        assert len(made) + len(gone) <= max(1, most)
        assert all(set(range(n)) <= ready for n in made), "a pod is made when all before it are ready"
    if rolling is not None and rolling.maxUnavailable is not None and updated:
        left = ready - {statefulsets.ordinal_of(world.owner, p) for p in updated}
        assert sum(n < total for n in left if n is not None) >= total - most
