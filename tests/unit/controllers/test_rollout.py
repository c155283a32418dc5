"""A rollout played step by step with whatever sizes, shares and delays: its bounds hold at every moment, and it ends."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import rollout
from navarch.objects import meta

SHARES = st.one_of(st.integers(0, 12), st.integers(0, 100).map(lambda p: f"{p}%"))


def deployment(replicas: int, surge: int | str = 1, unavailable: int | str = 0, image: str = "new") -> apps_v1.Deployment:
    rolling = apps_v1.RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    spec = apps_v1.DeploymentSpec(
        replicas=replicas,
        selector=meta_v1.LabelSelector(matchLabels={"app": "d"}),
        template=template(image),
        strategy=apps_v1.DeploymentStrategy(type="RollingUpdate", rollingUpdate=rolling),
        progressDeadlineSeconds=600,
    )
    return apps_v1.Deployment(metadata=meta_v1.ObjectMeta(name="d", namespace="x", uid="u", generation=1), spec=spec)


def template(image: str) -> core_v1.PodTemplateSpec:
    containers = [core_v1.Container(name="c", image=image)]
    return core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"app": "d"}), spec=core_v1.PodSpec(containers=containers))


@dataclass
class Set:
    """A replica set and how many of its pods are available."""

    name: str
    wanted: int
    available: int

    def resize(self, wanted: int) -> None:
        """What the replica set controller does: the unavailable go first."""
        assert wanted >= 0
        self.wanted, self.available = wanted, min(self.available, wanted)

    def object(self, total: int, most: int) -> apps_v1.ReplicaSet:
        annotations = {rollout.DESIRED: str(total), rollout.MOST: str(most)}
        metadata = meta_v1.ObjectMeta(name=self.name, namespace="x", annotations=annotations, creationTimestamp=f"2026-01-01T00:00:0{self.name[-1]}Z")
        status = apps_v1.ReplicaSetStatus(replicas=self.wanted, availableReplicas=self.available, readyReplicas=self.available)
        return apps_v1.ReplicaSet(metadata=metadata, spec=apps_v1.ReplicaSetSpec(replicas=self.wanted), status=status)


def step(made: apps_v1.Deployment, new: Set, old: list[Set]) -> bool:
    """One pass of the controller. Whether it changed anything."""
    total = made.spec.replicas if made.spec is not None and made.spec.replicas else 0
    most = total + rollout.bounds(made)[0]
    sizes = rollout.roll(made, new.object(total, most), [s.object(total, most) for s in old]).replicas
    for each in (new, *old):
        if each.name in sizes:
            each.resize(sizes[each.name])
    return bool(sizes)


@given(st.integers(0, 20), SHARES, SHARES, st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_rollout_keeps_its_bounds_and_ends(replicas: int, surge: int | str, unavailable: int | str, sets: int, seed: int) -> None:
    chance = random.Random(seed)
    made = deployment(replicas, surge, unavailable)
    most, least = replicas + rollout.bounds(made)[0], replicas - rollout.bounds(made)[1]
    cuts = sorted(chance.randint(0, replicas) for _ in range(sets - 1))
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, replicas], strict=True)]
    old = [Set(f"old{i}", n, n) for i, n in enumerate(shares)]
    new = Set("new9", 0, 0)
    for _ in range(40 * (replicas + 1)):
        changed = step(made, new, old)
        assert sum(s.wanted for s in (new, *old)) <= most
        assert sum(s.available for s in (new, *old)) >= least
        waiting = new.wanted - new.available
        new.available += chance.randint(0, waiting)
        if not changed and waiting:
            new.available = min(new.wanted, new.available + 1)
        if not changed and not waiting:
            break
    assert (new.wanted, new.available, [s.wanted for s in old]) == (replicas, replicas, [0] * sets)


@given(st.integers(1, 12), SHARES, SHARES, st.integers(0, 12), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_a_new_template_that_never_runs_takes_nothing_that_runs(
    replicas: int, surge: int | str, unavailable: int | str, sick: int, seed: int
) -> None:
    """The new pods never become available: as many old ones stay as must be there, and the controller comes to rest."""
    made = deployment(replicas, surge, unavailable)
    healthy = max(0, replicas - sick)
    old, new = [Set("old1", replicas, healthy)], Set("new9", 0, 0)
    least = min(healthy, replicas - rollout.bounds(made)[1])
    for _ in range(100):
        changed = step(made, new, old)
        assert old[0].available >= least
        if not changed:
            break
    assert not step(made, new, old)
    del seed


@given(st.lists(st.integers(1, 15), min_size=2, max_size=4), st.integers(0, 40), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_scaling_in_the_middle_shares_what_there_is(shares: list[int], target: int, surge: int, before_surge: int) -> None:
    before = max(1, sum(shares) - before_surge)
    made = deployment(target, surge, 1)
    sets = [Set(f"s{i}", n, 0).object(before, sum(shares)) for i, n in enumerate(shares)]
    sizes = rollout.scale(made, sets[-1], sets[:-1]).replicas
    after = [sizes.get(f"s{i}", n) for i, n in enumerate(shares)]
    assert all(n >= 0 for n in after)
    allowed = target + surge if target else 0
    if allowed >= sum(shares):
        assert sum(after) == allowed
    else:  # what rounding left over is taken from one set, which cannot go below nothing (as upstream)
        assert allowed <= sum(after) <= sum(shares)
        assert sum(after) == allowed or 0 in after


def test_shares_round_up_for_surge_and_down_for_unavailable() -> None:
    assert rollout.bounds(deployment(10, "25%", "25%")) == (3, 2)
    assert rollout.bounds(deployment(1, "25%", "25%")) == (1, 0)
    assert rollout.bounds(deployment(3, 0, 0)) == (0, 1)
    assert rollout.bounds(deployment(3, 0, 9)) == (0, 3)


def test_recreate_waits_until_the_old_pods_are_gone() -> None:
    made = deployment(3)
    assert made.spec is not None
    made.spec.strategy = apps_v1.DeploymentStrategy(type="Recreate")
    old, new = Set("old1", 3, 3).object(3, 3), Set("new9", 0, 0).object(3, 3)
    assert rollout.recreate(made, new, [old], True).replicas == {"old1": 0}
    gone = Set("old1", 0, 0).object(3, 3)
    assert rollout.recreate(made, new, [gone], True).replicas == {}
    assert rollout.recreate(made, new, [gone], False).replicas == {"new9": 3}


def test_the_set_of_a_template_is_found_again() -> None:
    first, second = deployment(2, image="a"), deployment(2, image="b")
    one, two = rollout.new_set(first, 1, 2, 0), rollout.new_set(second, 2, 0, 0)
    assert rollout.find_new(first, [two, one]) is one
    assert rollout.find_new(second, [two, one]) is two
    assert rollout.find_new(deployment(2, image="c"), [two, one]) is None
    assert meta.of(one).name != meta.of(two).name
    assert one.spec is not None and two.spec is not None and one.spec.template is not None
    digest = (meta.of(one).labels or {})[rollout.HASH_LABEL]
    assert meta.of(one).name == f"d-{digest}"
    assert one.spec.selector is not None and one.spec.selector.matchLabels == {"app": "d", rollout.HASH_LABEL: digest}
    assert rollout.new_set(first, 1, 2, 1).metadata != one.metadata, "a collision gives another name"


def test_revisions_remember_what_they_were() -> None:
    made = deployment(2)
    first = rollout.set_annotations(made, {}, 1)
    assert first[rollout.REVISION] == "1"
    again = rollout.set_annotations(made, first, 3)
    assert (again[rollout.REVISION], again[rollout.REVISION_HISTORY]) == ("3", "1")
    third = rollout.set_annotations(made, again, 5)
    assert (third[rollout.REVISION], third[rollout.REVISION_HISTORY]) == ("5", "1,3")


def test_conditions_say_how_it_goes() -> None:
    made, now = deployment(2), 1_800_000_000.0
    new = Set("new9", 2, 0).object(2, 3)
    status = rollout.progress_status(made, new, [new], now)
    found = {c.type: (c.status, c.reason) for c in status.conditions or ()}
    assert found["Available"] == ("False", "MinimumReplicasUnavailable")
    assert found["Progressing"] == ("True", "ReplicaSetUpdated")
    later = rollout.progress_status(msgspec.structs.replace(made, status=status), new, [new], now + 601)
    assert {c.type: (c.status, c.reason) for c in later.conditions or ()}["Progressing"] == ("False", "ProgressDeadlineExceeded")
    done = Set("new9", 2, 2).object(2, 3)
    ready = rollout.progress_status(msgspec.structs.replace(made, status=later), done, [done], now + 700)
    found = {c.type: (c.status, c.reason) for c in ready.conditions or ()}
    assert found == {"Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable")}
    assert rollout.complete(made, ready)
