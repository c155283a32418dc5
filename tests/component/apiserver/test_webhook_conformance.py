"""What upstream's end-to-end tests of admission webhooks do, with the webhooks of their image written here.

Upstream counterparts: test/e2e/apimachinery/webhook.go, test/images/agnhost/webhook.
"""

from __future__ import annotations

import asyncio
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors
from navarch.testing import server
from navarch.testing.webhooks import add, allowed, denied, patched
from tests.component.apiserver.webhook_cluster import Cluster, meta, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")
Request = dict[str, Any]


# ---- the image's webhooks ---------------------------------------------------------------------------------------------


async def pods(request: Request) -> dict[str, Any]:
    pod = request["object"]
    label = (pod["metadata"].get("labels") or {}).get("webhook-e2e-test")
    if label == "wait-forever":
        await asyncio.sleep(60)
    why = "the pod contains unwanted label; " if label == "webhook-disallow" else ""
    if any("webhook-disallow" in c["name"] for c in pod["spec"]["containers"]):
        why += "the pod contains unwanted container name; "
    return denied(why.strip()) if why else allowed()


def config_maps(request: Request) -> dict[str, Any]:
    data = request["object"].get("data") or {}
    return denied("the configmap contains unwanted key and value") if data.get("webhook-e2e-test") == "webhook-disallow" else allowed()


def mutate_config_map(request: Request) -> dict[str, Any]:
    data = request["object"].get("data") or {}
    if data.get("mutation-start") == "yes" and "mutation-stage-1" not in data:
        return patched(add("/data/mutation-stage-1", "yes"))
    if data.get("mutation-stage-1") == "yes":
        return patched(add("/data/mutation-stage-2", "yes"))
    return allowed()


def mutate_pod(request: Request) -> dict[str, Any]:
    if request["object"]["metadata"]["name"] != "webhook-to-be-mutated":
        return allowed()
    return patched(add("/spec/initContainers", [{"image": "webhook-added-image", "name": "webhook-added-init-container", "resources": {}}]))


def deny_attaching(request: Request) -> dict[str, Any]:
    options = request["object"]
    if request["name"] != "to-be-attached-pod" or not options.get("stdin") or options.get("container") != "container1":
        return allowed()
    assert (request["subResource"], options["kind"]) == ("attach", "PodAttachOptions")
    return denied("attaching to pod 'to-be-attached-pod' is not allowed")


async def slow(request: Request) -> dict[str, Any]:
    await asyncio.sleep(1.5)
    return allowed()


# ---- the tests --------------------------------------------------------------------------------------------------------


def pod(name: str, ns: str, container: str = "c", **labels: str) -> core_v1.Pod:
    metadata = meta_v1.ObjectMeta(name=name, namespace=ns, labels={key.replace("_", "-"): value for key, value in labels.items()} or None)
    return core_v1.Pod(metadata=metadata, spec=core_v1.PodSpec(containers=[core_v1.Container(name=container, image="pause")]))


async def test_deny_pod_and_config_map_creation(cluster: Cluster, api: server.ApiServer) -> None:
    client = cluster.client
    hooks = [
        cluster.validating(pods, "deny-unwanted-pod-container-name-and-label.k8s.io", rules=[rule("pods")], timeoutSeconds=1),
        cluster.validating(config_maps, "deny-unwanted-configmap-data.k8s.io", rules=[rule(operations=("CREATE", "UPDATE", "DELETE"))]),
    ]
    await cluster.register(*hooks)
    with pytest.raises(errors.ApiError) as found:
        await client.create(pod("disallowed", cluster.ns, "webhook-disallow", webhook_e2e_test="webhook-disallow"))
    assert "the pod contains unwanted label; the pod contains unwanted container name" in found.value.message
    with pytest.raises(errors.ApiError, match=r"webhook .*deadline"):
        await client.create(pod("hanging", cluster.ns, webhook_e2e_test="wait-forever"))
    with pytest.raises(errors.NotFound):
        await client.get(core_v1.Pod, "hanging", cluster.ns)
    bad = {"webhook-e2e-test": "webhook-disallow"}
    with pytest.raises(errors.ApiError, match="the configmap contains unwanted key and value"):
        await cluster.create("disallowed", **bad)
    made = await cluster.create("allowed", admit="this")
    made.data = {"admit": "this", **bad}
    with pytest.raises(errors.ApiError, match="the configmap contains unwanted key and value"):
        await client.update(made)
    with pytest.raises(errors.ApiError, match="the configmap contains unwanted key and value"):
        await client.patch(core_v1.ConfigMap, "allowed", {"data": bad}, cluster.ns)
    elsewhere = await api.namespace()
    await client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="disallowed", namespace=elsewhere), data=bad))


async def test_deny_attaching_a_pod(cluster: Cluster, http: Any) -> None:
    """The options of the connection are what the webhook sees, before anything is streamed."""
    await cluster.register(cluster.validating(deny_attaching, rules=[rule("pods/attach", operations=("CONNECT",))]))
    held = pod("to-be-attached-pod", cluster.ns, "container1")
    assert held.spec is not None
    held.spec.nodeName = "some-node"
    await cluster.client.create(held)
    path = f"/api/v1/namespaces/{cluster.ns}/pods/to-be-attached-pod/attach"
    query = {"container": "container1", "stdin": "true", "stdout": "true"}
    answer = await http("POST", path, query=query, headers={"Connection": "Upgrade", "Upgrade": "SPDY/3.1"})
    assert answer.status == 400 and answer.message.endswith("denied the request: attaching to pod 'to-be-attached-pod' is not allowed")
    other = await http("POST", path, query={"container": "container1", "stdout": "true"}, headers={"Connection": "Upgrade", "Upgrade": "SPDY/3.1"})
    assert "is not allowed" not in other.message


async def test_reject_unconditionally_when_closed(cluster: Cluster) -> None:
    service = admission_v1.ServiceReference(name="webhook-does-not-exist", namespace=cluster.ns, path="/configmaps")
    config = admission_v1.WebhookClientConfig(service=service)
    await cluster.register(cluster.validating(config_maps, "fail-closed.k8s.io", clientConfig=config, failurePolicy="Fail"))
    with pytest.raises(errors.InternalError, match=r'service "webhook-does-not-exist" not found$'):
        await cluster.create("foo")


async def test_mutate_a_config_map_in_two_stages(cluster: Cluster) -> None:
    stages = [cluster.mutating(mutate_config_map, f"adding-configmap-data-stage-{i}.k8s.io") for i in (1, 2)]
    await cluster.register(*stages)
    made = await cluster.create("to-be-mutated", **{"mutation-start": "yes"})
    assert made.data == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


async def test_mutate_a_pod_and_default_it(cluster: Cluster) -> None:
    await cluster.register(cluster.mutating(mutate_pod, rules=[rule("pods")]))
    made = await cluster.client.create(pod("webhook-to-be-mutated", cluster.ns))
    assert made.spec is not None
    (init,) = made.spec.initContainers or []
    assert (init.name, init.terminationMessagePolicy) == ("webhook-added-init-container", "File")


async def test_webhook_configurations_can_always_be_deleted(cluster: Cluster) -> None:
    configurations = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    group = "admissionregistration.k8s.io"
    no = cluster.validating(
        lambda r: denied("no"), rules=[rule(*configurations, group=group, operations=("DELETE",))], namespaceSelector=meta_v1.LabelSelector()
    )
    label = cluster.mutating(
        lambda r: patched(add("/metadata/labels", {"added-label": "yes"})),
        rules=[rule(*configurations, group=group)],
        namespaceSelector=meta_v1.LabelSelector(),
    )
    await cluster.register(no)
    await cluster.register(label)
    dummies = (cluster.validating(lambda r: allowed(), "dummy.k8s.io"), cluster.mutating(lambda r: allowed(), "dummy.k8s.io"))
    for dummy in dummies:
        made = await cluster.register(dummy)
        assert not meta(made).labels
        await cluster.client.delete(type(made), meta(made).name or "")


async def test_deny_definitions(cluster: Cluster, http: Any) -> None:
    def handler(request: Request) -> dict[str, Any]:
        labels = request["object"]["metadata"].get("labels") or {}
        return denied("the crd contains unwanted label") if labels.get("webhook-e2e-test") == "webhook-disallow" else allowed()

    rules = [rule("customresourcedefinitions", group="apiextensions.k8s.io")]
    selector = meta_v1.LabelSelector(matchLabels={"webhook-e2e-test": "webhook-disallow"})
    await cluster.register(cluster.validating(handler, rules=rules, objectSelector=selector, namespaceSelector=meta_v1.LabelSelector()))
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "tests", "singular": "test", "kind": "Test", "listKind": "TestList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    body = {
        "metadata": {"name": "tests.denied.example.com", "labels": {"webhook-e2e-test": "webhook-disallow"}},
        "spec": {"group": "denied.example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    answer = await http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    assert answer.status == 400 and "the crd contains unwanted label" in answer.message


async def test_honor_the_timeout(cluster: Cluster) -> None:
    made = await cluster.register(cluster.validating(slow, timeoutSeconds=1))
    with pytest.raises(errors.ApiError, match="context deadline exceeded"):
        await cluster.create()
    for policy, seconds in (("Ignore", 1), ("Fail", 3), ("Fail", None)):
        made.webhooks[0].failurePolicy, made.webhooks[0].timeoutSeconds = policy, seconds
        made = await cluster.client.update(made)
        await cluster.create()
    assert made.webhooks[0].timeoutSeconds == 10


async def test_deleting_a_collection_of_configurations(cluster: Cluster, http: Any) -> None:
    kind = "validatingwebhookconfigurations"
    for i in range(3):
        hook = cluster.validating(lambda r: denied("listed"), f"list-{i}.k8s.io")
        metadata = meta_v1.ObjectMeta(name=f"{cluster.ns}-{i}", labels={"list": cluster.ns})
        await cluster.client.create(admission_v1.ValidatingWebhookConfiguration(metadata=metadata, webhooks=[hook]))
    with pytest.raises(errors.ApiError, match="listed"):
        await cluster.create()
    path = f"/apis/admissionregistration.k8s.io/v1/{kind}"
    assert (await http("DELETE", path, query={"labelSelector": f"list={cluster.ns}"})).status == 200
    await cluster.create()


async def test_bad_match_conditions_are_refused(cluster: Cluster) -> None:
    conditions = [admission_v1.MatchCondition(name="invalid-expression-1", expression="... [] bad expression")]
    for hook in (cluster.validating(config_maps, matchConditions=conditions), cluster.mutating(config_maps, matchConditions=conditions)):
        with pytest.raises(errors.Invalid, match="compilation failed"):
            await cluster.register(hook)


async def test_everything_but_skip_me_is_mutated(cluster: Cluster) -> None:
    conditions = [admission_v1.MatchCondition(name="skip-me", expression="object.metadata.name != 'skip-me'")]
    await cluster.register(cluster.mutating(mutate_config_map, matchConditions=conditions))
    assert (await cluster.create("other", **{"mutation-start": "yes"})).data == {"mutation-start": "yes", "mutation-stage-1": "yes"}
    assert (await cluster.create("skip-me", **{"mutation-start": "yes"})).data == {"mutation-start": "yes"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl on the PATH")
async def test_what_a_person_with_kubectl_reads(cluster: Cluster, api: server.ApiServer, tmp_path: pathlib.Path) -> None:
    await cluster.register(cluster.validating(lambda r: {**config_maps(r), "warnings": ["think again"]}, "deny-unwanted-configmap-data.k8s.io"))
    config = api.write_kubeconfig(tmp_path / "config")

    async def kubectl(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl", f"--kubeconfig={config}", f"--namespace={cluster.ns}", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return (await asyncio.wait_for(process.communicate(), 30))[0].decode()

    told = await kubectl("create", "configmap", "bad", "--from-literal=webhook-e2e-test=webhook-disallow")
    why = 'admission webhook "deny-unwanted-configmap-data.k8s.io" denied the request: the configmap contains unwanted key and value'
    assert "Warning: think again\n" in told and f"{why}\n" in told
    told = await kubectl("create", "configmap", "good", "--from-literal=a=b")
    assert told == "Warning: think again\nconfigmap/good created\n"
