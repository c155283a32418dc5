"""KubeSchedulerConfiguration → profiles."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from navarch.machinery import durations
from navarch.scheduler.config import configuration, profiles
from navarch.scheduler.core.arguments import Point
from navarch.scheduler.core.plugins.table import WEIGHTS
from navarch.scheduler.core.profile import Profile


def config(**more: Any) -> dict[str, Any]:
    return {"apiVersion": configuration.VERSION, "kind": configuration.KIND, **more}


def test_nothing_said_is_upstreams_default() -> None:
    (profile,) = configuration.read(config()).profiles.values()
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
    found = configuration.read(config(profiles=[{"schedulerName": "default-scheduler"}, packed])).profiles
    assert list(found) == ["default-scheduler", "packed"]
    profile = found["packed"]
    assert dict(profile.weights) == {"NodeResourcesFit": 7}
    assert profile.disabled_filters == {"TaintToleration"} and not profile.preempts
    assert profile.arguments.fit.shape == (Point(0, 0), Point(100, 100)) and profile.arguments.fit.resources == (("example.com/gpu", 3),)
    assert profile.arguments.fit.ignored_groups == {"example.com"}
    assert profile.arguments.hard_pod_affinity_weight == 5 and profile.arguments.default_constraints == ()


def profile(**more: Any) -> dict[str, Any]:
    return config(profiles=[more])


def args(plugin: str, **given: Any) -> dict[str, Any]:
    return profile(pluginConfig=[{"name": plugin, "args": given}])


def plugins(**points: Any) -> dict[str, Any]:
    return profile(plugins=points)


def on(*names: str, **weights: int) -> dict[str, Any]:
    return {"enabled": [*({"name": n} for n in names), *({"name": n, "weight": w} for n, w in weights.items())]}


def off(*names: str) -> dict[str, Any]:
    return {"disabled": [{"name": n} for n in names]}


def extender(**more: Any) -> dict[str, Any]:
    return config(extenders=[{"urlPrefix": "http://localhost:1", **more}])


def shape(*points: tuple[int, int]) -> dict[str, Any]:
    listed = [{"utilization": u, "score": s} for u, s in points]
    return {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": listed}}


def constraint(**more: Any) -> dict[str, Any]:
    return {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", **more}


def affinity(**requirement: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    return args("NodeAffinity", addedAffinity={"requiredDuringSchedulingIgnoredDuringExecution": terms})


SORTED_ELSE = config(profiles=[{"schedulerName": "a"}, {"schedulerName": "b", "plugins": {"queueSort": off("PrioritySort")}}])
AT = "profiles[0].pluginConfig[0].args"
TERM = f"{AT}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"
PROFILE = "initializing profiles: creating profile for scheduler name default-scheduler: "


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "Pod"}, "not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"),
        # what is there and what is not
        (config(parallel=1), 'strict decoding error: unknown field "parallel"'),
        (profile(plugins={"filters": {}}), 'strict decoding error: unknown field "profiles[0].plugins.filters"'),
        (
            args("NodeResourcesFit", ignored=[]),
            'strict decoding error: decoding .profiles[0].pluginConfig[0]: decoding args for plugin NodeResourcesFit: unknown field "ignored"',
        ),
        (
            args("NodeAffinity", kind="InterPodAffinityArgs"),
            "decoding .profiles[0].pluginConfig[0]: args for plugin NodeAffinity were not of type "
            "NodeAffinityArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
        # settings
        (config(parallelism=0), "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (config(percentageOfNodesToScore=101), "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        (profile(percentageOfNodesToScore=-1), "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"),
        (config(podInitialBackoffSeconds=0), "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            config(podInitialBackoffSeconds=20),
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (config(clientConnection={"burst": -1}), "clientConnection.burst: Invalid value: -1: must be non-negative"),
        (
            config(leaderElection={"leaseDuration": "5s"}),
            'leaderElection.leaseDuration: Invalid value: "10s": must be greater than `RenewDeadline`',
        ),
        (config(leaderElection={"retryPeriod": "-1s"}), 'leaderElection.retryPeriod: Invalid value: "-1s": must be greater than zero'),
        (config(leaderElection={"retryPeriod": "2"}), 'leaderElection.retryPeriod: time: missing unit in duration "2"'),
        (
            config(leaderElection={"resourceLock": "endpoints"}),
            'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
        ),
        # profiles
        (config(profiles=[{"schedulerName": "a"}, {}]), "profiles[1].schedulerName: Required value"),
        (
            config(profiles=[{"schedulerName": "a"}, {"schedulerName": "a"}]),
            'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"',
        ),
        (SORTED_ELSE, 'profiles[1].plugins.queueSort: Invalid value: {"disabled":[{"name":"PrioritySort"}]}: must be the same for all profiles'),
        (
            plugins(queueSort=on("PrioritySort", "Other")),
            "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled",
        ),
        # plugins
        (plugins(filter=on("Foo")), f'{PROFILE}FilterPlugin "Foo" does not exist'),
        (plugins(multiPoint=on("Foo")), f'{PROFILE}PreFilterPlugin "Foo" does not exist'),
        (plugins(score=on("NodePorts")), f'{PROFILE}plugin "NodePorts" does not extend ScorePlugin plugin'),
        (plugins(score=on("ImageLocality", "ImageLocality")), f'{PROFILE}plugin "ImageLocality" already registered as "ScorePlugin"'),
        (
            plugins(multiPoint={**off("ImageLocality"), **on("ImageLocality", "ImageLocality")}),
            f'{PROFILE}plugin "ImageLocality" already registered as "ScorePlugin"',
        ),
        (
            plugins(queueSort=off("PrioritySort")),
            f'{PROFILE}only one queue sort plugin required for profile with scheduler name "default-scheduler", but got 0',
        ),
        (plugins(bind=off("*")), f'{PROFILE}at least one bind plugin is needed for profile with scheduler name "default-scheduler"'),
        (
            plugins(preFilter=off("NodePorts")),
            f'{PROFILE}plugin "NodePorts" is disabled at preFilter and enabled at filter, where it would fail every pod',
        ),
        (
            plugins(filter=on("EBSLimits")),
            'profiles[0].plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version "kubescheduler.config.k8s.io/v1" '
            '(KubeSchedulerConfiguration is version "kubescheduler.config.k8s.io/v1")',
        ),
        # arguments
        (
            profile(pluginConfig=[{"name": "X"}, {"name": "X"}]),
            'profiles[0].pluginConfig[1]: Duplicate value: "X"',
        ),
        (
            args("DefaultPreemption", minCandidateNodesPercentage=101),
            f"{AT}.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", minCandidateNodesAbsolute=-1),
            f"{AT}.minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)",
        ),
        (
            args("DefaultPreemption", minCandidateNodesAbsolute=0, minCandidateNodesPercentage=0),
            f"[{AT}.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute, "
            f"{AT}.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage]",
        ),
        (args("InterPodAffinity", hardPodAffinityWeight=101), f"{AT}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        (
            args("PodTopologySpread", defaultingType="Some"),
            f'{AT}.defaultingType: Unsupported value: "Some": supported values: "System", "List"',
        ),
        (
            args("PodTopologySpread", defaultConstraints=[constraint()]),
            f'{AT}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint(maxSkew=0)]),
            f"{AT}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint(topologyKey="")]),
            f"{AT}.defaultConstraints[0].topologyKey: Required value: can not be empty",
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint(whenUnsatisfiable="Never")]),
            f'{AT}.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"',
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint(labelSelector={})]),
            f"{AT}.defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod",
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint(), constraint(maxSkew=2)]),
            f'{AT}.defaultConstraints[1]: Duplicate value: "{{zone, ScheduleAnyway}}"',
        ),
        (
            args("NodeResourcesFit", scoringStrategy={"type": "Some"}),
            f'{AT}.scoringStrategy.type: Unsupported value: "Some": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"',
        ),
        (
            args("NodeResourcesFit", scoringStrategy={"type": "LeastAllocated", "resources": [{"name": "cpu", "weight": 101}]}),
            f"{AT}.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
        ),
        (
            args("NodeResourcesFit", scoringStrategy={"type": "RequestedToCapacityRatio"}),
            f"{AT}.scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
        ),
        (
            args("NodeResourcesFit", scoringStrategy=shape()),
            f"{AT}.scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified",
        ),
        (
            args("NodeResourcesFit", scoringStrategy=shape((50, 0), (50, 1))),
            f"{AT}.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 50: values must be sorted in increasing order",
        ),
        (
            args("NodeResourcesFit", scoringStrategy=shape((0, 11))),
            f"{AT}.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]",
        ),
        (
            args("NodeResourcesFit", scoringStrategy={**shape((0, 1)), "type": "MostAllocated"}),
            f"{AT}.scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            args("NodeResourcesFit", ignoredResourceGroups=["a/b"]),
            f"{AT}.ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
        ),
        (
            args("NodeResourcesBalancedAllocation", resources=[{"name": "cpu", "weight": 2}]),
            f"{AT}.resources[0].weight: Invalid value: 2: must be 1",
        ),
        (
            affinity(key="zone", operator="Near"),
            f'{TERM}.operator: Unsupported value: "Near": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"',
        ),
        (affinity(key="zone", operator="In"), f"{TERM}.values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
        (
            affinity(key="zone", operator="Gt", values=["a"]),
            f"{TERM}.values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (
            args("VolumeBinding", bindTimeoutSeconds=-1),
            f"{AT}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (args("DynamicResources", bindingTimeout="1ms"), f'{AT}.bindingTimeout: Invalid value: "1ms": must be at least 1 second'),
        # extenders
        (extender(prioritizeVerb="p"), "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"),
        (
            config(extenders=[{"urlPrefix": "a", "bindVerb": "b"}, {"urlPrefix": "b", "bindVerb": "b"}]),
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
        ),
        (
            extender(managedResources=[{"name": "cpu"}]),
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
        (
            extender(managedResources=[{"name": "a.b/c"}, {"name": "a.b/c"}]),
            'extenders[0].managedResources[1].name: Invalid value: "a.b/c": duplicate extender managed resource name',
        ),
        (extender(httpTimeout="5"), 'extenders[0].httpTimeout: Invalid value: "5": time: missing unit in duration "5"'),
        (
            extender(enableHTTPS=True, tlsConfig={"caFile": "/nowhere"}),
            "couldn't build extenders: open /nowhere: no such file or directory",
        ),
        (
            extender(tlsConfig={"insecure": True, "caData": "aGVsbG8="}),
            "couldn't build extenders: specifying a root certificates file with the insecure flag is not allowed",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(given: Any, said: str) -> None:
    with pytest.raises(configuration.Unacceptable) as refused:
        configuration.read(given)
    assert str(refused.value) == said


def test_several_problems_are_told_at_once() -> None:
    with pytest.raises(configuration.Unacceptable) as refused:
        configuration.read(config(parallelism=-1, podInitialBackoffSeconds=0))
    assert str(refused.value).startswith("[parallelism: Invalid value: -1: ") and ", podInitialBackoffSeconds: " in str(refused.value)


def test_a_field_that_is_there_twice_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"apiVersion: {configuration.VERSION}\nkind: {configuration.KIND}\nparallelism: 1\nparallelism: 2\n")
    with pytest.raises(configuration.Unacceptable, match="parallelism"):
        configuration.load(str(path))


def read(given: Any) -> Profile:
    (found,) = configuration.read(given).profiles.values()
    return found


def test_everything_that_upstream_reads_is_read() -> None:
    given = config(
        parallelism=8,
        percentageOfNodesToScore=50,
        podInitialBackoffSeconds=2,
        podMaxBackoffSeconds=30,
        delayCacheUntilActive=True,
        enableProfiling=False,
        enableContentionProfiling=False,
        clientConnection={"kubeconfig": "/k", "qps": 10.5, "burst": 20, "contentType": "application/json", "acceptContentTypes": ""},
        leaderElection={"leaderElect": True, "leaseDuration": "1m", "renewDeadline": "30s", "resourceName": "mine", "resourceNamespace": "n"},
        profiles=[{"percentageOfNodesToScore": 20, "pluginConfig": [{"name": "NotHere", "args": {"anything": 1}}]}],
    )
    found = configuration.read(given)
    assert (found.first_backoff, found.most_backoff, found.kubeconfig) == (2.0, 30.0, "/k")
    assert found.leadership == configuration.Leadership(True, "n", "mine", 60.0, 30.0, 2.0)
    assert [note.partition(":")[0] for note in found.notes] == ["percentageOfNodesToScore", "parallelism", "clientConnection"]


def test_a_point_s_own_list_comes_first_where_it_names_what_multipoint_brings() -> None:
    found = read(plugins(filter=on("InterPodAffinity", "NodePorts")))
    assert found.order[:3] == ("InterPodAffinity", "NodePorts", "NodeUnschedulable") and not found.disabled_filters
    assert read(plugins(filter={**off("*"), **on("NodePorts")})).order == ("NodePorts",)
    assert read(plugins(multiPoint={**off("NodePorts"), **on("NodePorts")})).order[-1] == "NodePorts"
    assert read(plugins()).order == ()


def test_a_score_s_own_weight_goes_before_that_of_multipoint() -> None:
    given = plugins(multiPoint=on(NodeAffinity=7, ImageLocality=3), score=on(ImageLocality=9))
    weights = read(given).weights
    assert (weights["NodeAffinity"], weights["ImageLocality"], weights["TaintToleration"]) == (7, 9, 3)
    assert read(plugins(score=on("TaintToleration"))).weights["TaintToleration"] == 1


def test_a_plugin_enabled_everywhere_can_be_disabled_at_one_point() -> None:
    found = read(plugins(score=off("NodeResourcesFit")))
    assert "NodeResourcesFit" not in found.weights and not found.disabled_filters
    found = read(plugins(multiPoint=off("TaintToleration")))
    assert found.disabled_filters == {"TaintToleration"} and "TaintToleration" not in found.weights
    found = read(plugins(multiPoint=off("*"), queueSort=on("PrioritySort"), bind=on("DefaultBinder")))
    assert found.disabled_filters == profiles.FILTERS and not found.weights and not found.preempts


def test_gates_and_groups_can_be_left_alone() -> None:
    found = read(plugins(preEnqueue=off("SchedulingGates")))
    assert (found.honours_gates, found.waits_for_groups, found.places_groups) == (False, True, True)
    found = read(plugins(multiPoint=off("GangScheduling")))
    assert (found.honours_gates, found.waits_for_groups, found.places_groups) == (True, False, False)


def test_extenders_are_read_and_the_ignorable_ones_asked_last() -> None:
    first = {"urlPrefix": "http://a", "ignorable": True, "filterVerb": "f"}
    managed = [{"name": "example.com/gpu", "ignoredByScheduler": True}, {"name": "example.com/nic"}]
    second = {
        "urlPrefix": "http://b",
        "prioritizeVerb": "p",
        "weight": 2,
        "httpTimeout": "1m30s",
        "nodeCacheCapable": True,
        "managedResources": managed,
    }
    found = configuration.read(config(extenders=[first, second]))
    assert [e.url for e in found.extenders] == ["http://b", "http://a"]
    assert (found.extenders[0].timeout, found.extenders[1].timeout, found.extenders[0].by_name) == (90.0, 5.0, True)
    assert found.extenders[0].managed == {"example.com/gpu", "example.com/nic"}
    assert found.profiles["default-scheduler"].arguments.fit.ignored == {"example.com/gpu"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1h2m3.5s", 3723.5), ("100ms", 0.1), ("-1s", -1.0), ("0", 0.0), (".5m", 30.0), ("1us", 1e-6)]
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'time: invalid duration ""'),
        ("5", 'time: missing unit in duration "5"'),
        ("5 s", 'time: unknown unit " s" in duration "5 s"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("s", 'time: invalid duration "s"'),
    ],
)
def test_what_is_no_duration_is_said_in_gos_words(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        durations.seconds(text)
    assert str(refused.value) == said
