"""KubeSchedulerConfiguration → profiles."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.scheduler import configuration
from navarch.scheduler.core.profile import WEIGHTS, Point


def config(**more: Any) -> dict[str, Any]:
    return {"apiVersion": configuration.VERSION, "kind": configuration.KIND, **more}


def test_nothing_said_is_upstreams_default() -> None:
    (profile,) = configuration.read(config()).values()
    assert profile.name == "default-scheduler" and dict(profile.weights) == dict(WEIGHTS) and not profile.disabled_filters


def test_two_profiles_with_plugins_and_arguments() -> None:
    packed = {
        "schedulerName": "packed",
        "plugins": {
            "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit", "weight": 7}]},
            "filter": {"disabled": [{"name": "TaintToleration"}]},
            "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
        },
        "pluginConfig": [
            {
                "name": "NodeResourcesFit",
                "args": {
                    "ignoredResourceGroups": ["example.com"],
                    "scoringStrategy": {
                        "type": "RequestedToCapacityRatio",
                        "resources": [{"name": "example.com/gpu", "weight": 3}],
                        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]},
                    },
                },
            },
            {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 5}},
            {"name": "PodTopologySpread", "args": {"defaultingType": "List"}},
        ],
    }
    found = configuration.read(config(profiles=[{}, packed]))
    assert list(found) == ["default-scheduler", "packed"]
    profile = found["packed"]
    assert dict(profile.weights) == {"NodeResourcesFit": 7}
    assert profile.disabled_filters == {"TaintToleration"} and not profile.preempts
    assert profile.fit.shape == (Point(0, 0), Point(100, 100)) and profile.fit.resources == (("example.com/gpu", 3),)
    assert profile.fit.ignored_groups == {"example.com"}
    assert profile.hard_pod_affinity_weight == 5 and profile.default_constraints == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "Pod"}, "not a KubeSchedulerConfiguration"),
        (config(profiles=[{}, {}]), 'Duplicate value: "default-scheduler"'),
        (config(profiles=[{"plugins": {"filter": {"enabled": [{"name": "Foo"}]}}}]), 'plugin "Foo" does not exist'),
        (config(extenders=[{"urlPrefix": "x"}]), "extenders: not supported"),
    ],
)
def test_what_cannot_be_used_is_refused(given: Any, said: str) -> None:
    with pytest.raises(configuration.Unacceptable, match=said):
        configuration.read(given)
