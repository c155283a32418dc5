"""What `kubectl` shows: tables and their columns, every output format, selection, order, watching, describing, explaining."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

import pytest
import yaml

AGE = r"\d+[smh](\d+s)?"

HEADINGS = {
    "nodes": "NAME STATUS ROLES AGE VERSION",
    "pods": "NAMESPACE NAME READY STATUS RESTARTS AGE",
    "svc": "NAMESPACE NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE",
    "deploy": "NAMESPACE NAME READY UP-TO-DATE AVAILABLE AGE",
    "rs": "NAMESPACE NAME DESIRED CURRENT READY AGE",
    "ep": "NAMESPACE NAME ENDPOINTS AGE",
    "endpointslices": "NAMESPACE NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    "events": "NAMESPACE LAST SEEN TYPE REASON OBJECT MESSAGE",
}
WIDE = {
    "nodes": "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
    "pods": "NAMESPACE NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
    "svc": "NAMESPACE NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR",
    "deploy": "NAMESPACE NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
    "rs": "NAMESPACE NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
    "ep": "NAMESPACE NAME ENDPOINTS AGE",
    "endpointslices": "NAMESPACE NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    "events": "NAMESPACE LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME",
}


def heading(printed: str) -> str:
    return " ".join(printed.splitlines()[0].split())


@pytest.mark.parametrize("resource", HEADINGS)
def test_columns(kubectl: Any, resource: str) -> None:
    assert heading(kubectl("get", resource, "-A")) == HEADINGS[resource]
    assert heading(kubectl("get", resource, "-A", "-o", "wide")) == WIDE[resource]


def test_rows_of_everything_at_once(kubectl: Any, node: str) -> None:
    kubectl.deployment("web", 2)
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl.until(lambda: len(kubectl.value(".subsets[*].addresses[*].ip", "ep", "web").split()) == 2)
    printed = kubectl("get", ",".join(HEADINGS), "-A")
    here = kubectl.namespace
    for pattern in (
        rf"node/{node} +Ready +<none> +{AGE} +v1\.36\.\d",
        rf"{here} +pod/web-[a-z0-9]+-[a-z0-9]{{5}} +1/1 +Running +0 +{AGE}",
        rf"{here} +service/web +ClusterIP +[0-9.]+ +<none> +80/TCP +{AGE}",
        rf"{here} +deployment.apps/web +2/2 +2 +2 +{AGE}",
        rf"{here} +replicaset.apps/web-[a-z0-9]+ +2 +2 +2 +{AGE}",
        rf"{here} +endpoints/web +[0-9.]+:8080,[0-9.]+:8080 +{AGE}",
        rf"{here} +endpointslice.discovery.k8s.io/web-[a-z0-9]{{5}} +IPv4 +8080 +[0-9.]+,[0-9.]+ +{AGE}",
        rf"{here} +{AGE} +Normal +Scheduled +pod/web-[a-z0-9-]+ +Successfully assigned {here}/web-[a-z0-9-]+ to {node}",
        rf"{here} +{AGE} +Normal +Started +pod/web-[a-z0-9-]+ +",
        rf"{here} +{AGE} +Normal +SuccessfulCreate +replicaset/web-[a-z0-9]+ +Created pod: web-",
        rf"{here} +{AGE} +Normal +ScalingReplicaSet +deployment/web +Scaled up replica set web-[a-z0-9]+ from 0 to 2",
    ):
        assert re.search(f"^{pattern}", printed, re.MULTILINE), f"{pattern} in\n{printed}"
    sources = {e["source"]["component"] for e in kubectl.read("events")["items"] if e["involvedObject"]["kind"] != "Pod"}
    assert sources == {"deployment-controller", "replicaset-controller"}
    wide = kubectl("get", "pods", "-o", "wide")
    assert re.search(rf"^web-\S+ +1/1 +Running +0 +{AGE} +10\.\d+\.\d+\.\d+ +{node} +<none> +<none>$", wide, re.MULTILINE), wide
    assert kubectl("get", "all", "-o", "name").splitlines()[-2:] == ["deployment.apps/web", kubectl("get", "rs", "-o", "name").strip()]


def test_every_kind_in_every_format(kubectl: Any) -> None:
    everything = ("get", ",".join(HEADINGS), "-A")
    found = json.loads(kubectl(*everything, "-o", "json"))["items"]
    kinds = {item["kind"] for item in found}
    assert kinds == {"Node", "Pod", "Service", "Deployment", "ReplicaSet", "Endpoints", "EndpointSlice", "Event"}
    assert {item["kind"] for item in yaml.safe_load(kubectl(*everything, "-o", "yaml"))["items"]} == kinds
    names = {line.split("/")[0] for line in kubectl(*everything, "-o", "name").split()}
    assert {"node", "pod", "service", "deployment.apps", "endpointslice.discovery.k8s.io", "event"} <= names
    assert set(kubectl(*everything, "-o", "jsonpath={.items[*].kind}").split()) == kinds
    columns = kubectl(*everything, "-o", "custom-columns=KIND:.kind,NAME:.metadata.name").splitlines()
    assert columns[0].split() == ["KIND", "NAME"] and {line.split()[0] for line in columns[1:]} == kinds
    assert kubectl.rows("svc", "-A", "--sort-by=.metadata.name", "-l", "!none")[0][1] == "hello"
    assert [line.split()[0] for line in kubectl("get", "events", "-A", "--field-selector", "type=Normal", "-o", "wide").splitlines()[1:]]
    assert "REASON" in kubectl("events", "-A")


def test_output_formats(kubectl: Any) -> None:
    kubectl("create", "configmap", "colours", "--from-literal=sky=blue", "--from-literal=grass=green")
    as_json = json.loads(kubectl("get", "configmap", "colours", "-o", "json"))
    assert as_json == yaml.safe_load(kubectl("get", "configmap", "colours", "-o", "yaml"))
    assert as_json["data"] == {"sky": "blue", "grass": "green"} and "managedFields" not in as_json["metadata"]
    assert json.loads(kubectl("get", "cm", "-o", "json"))["kind"] == "List"
    managed = json.loads(kubectl("get", "configmap", "colours", "-o", "json", "--show-managed-fields"))["metadata"]["managedFields"]
    assert [(m["manager"], m["operation"]) for m in managed] == [("kubectl-create", "Update")]
    assert kubectl("get", "cm", "-o", "name").splitlines() == ["configmap/colours", "configmap/kube-root-ca.crt"]
    assert kubectl("get", "cm", "colours", "-o", "jsonpath={.metadata.name}:{.data.sky}") == "colours:blue"
    ranged = '{range .items[*]}{.metadata.name}{"\\n"}{end}'
    assert kubectl("get", "cm", "-o", f"jsonpath={ranged}").split() == ["colours", "kube-root-ca.crt"]
    columns = kubectl("get", "cm", "colours", "-o", "custom-columns=WHO:.metadata.name,SKY:.data.sky,NO:.data.no").splitlines()
    assert [line.split() for line in columns] == [["WHO", "SKY", "NO"], ["colours", "blue", "<none>"]]
    assert kubectl("get", "cm", "colours", "-o", "go-template={{.data.grass}}") == "green"
    assert heading(kubectl("get", "cm", "colours")) == "NAME DATA AGE"
    assert heading(kubectl("get", "cm", "--show-labels")) == "NAME DATA AGE LABELS"
    assert heading(kubectl("get", "cm", "-L", "tier")) == "NAME DATA AGE TIER"
    assert kubectl.run("get", "pods").stderr == f"No resources found in {kubectl.namespace} namespace.\n"


def test_selecting_and_sorting(kubectl: Any) -> None:
    for name, tier, size in (("b", "front", "1"), ("c", "back", "2"), ("a", "front", "3")):
        kubectl("create", "configmap", name, f"--from-literal=size={size}")
        kubectl("label", "configmap", name, f"tier={tier}")
    names = ("-o", "custom-columns=N:.metadata.name", "--no-headers")
    assert kubectl("get", "cm", "-l", "tier=front", *names).split() == ["a", "b"]
    assert kubectl("get", "cm", "-l", "tier in (back,side)", *names).split() == ["c"]
    assert kubectl("get", "cm", "-l", "tier!=front,tier", *names).split() == ["c"]
    assert kubectl("get", "cm", "-l", "!tier", *names).split() == ["kube-root-ca.crt"]
    assert kubectl("get", "cm", "--field-selector", "metadata.name=b", *names).split() == ["b"]
    assert kubectl("get", "cm", "-l", "tier", "--sort-by=.data.size", *names).split() == ["b", "c", "a"]
    assert [r[0] for r in kubectl.rows("cm", "-l", "tier", "--sort-by=.metadata.name")] == ["a", "b", "c"]
    assert [r[0] for r in kubectl.rows("cm", "-l", "tier", "--sort-by=.metadata.creationTimestamp")][-1] in ("a", "c", "b")
    assert kubectl("get", "pods", "-A", "--field-selector=status.phase=Running", "-l", "app=hello", "-o", "name").count("pod/hello-") == 2
    assert kubectl("get", "pods", "-A", "--field-selector=status.phase=Failed", "-o", "name") == ""
    assert kubectl("get", "cm", "--chunk-size=1", *names).split() == ["a", "b", "c", "kube-root-ca.crt"]


def test_watching(kubectl: Any) -> None:
    watching = kubectl.started("get", "configmaps", "-w", "--output-watch-events", "-l", "seen")
    listing = kubectl.started("get", "configmaps", "-w", "-o", "name")
    assert listing.stdout.readline() == "configmap/kube-root-ca.crt\n"
    time.sleep(0.5)
    kubectl("apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w, labels: {seen: here}}")
    assert listing.stdout.readline() == "configmap/w\n"
    kubectl("patch", "configmap", "w", "-p", '{"data":{"a":"b"}}')
    kubectl("delete", "configmap", "w")
    lines = [watching.stdout.readline().split() for _ in range(4)]
    assert [line[:3] for line in lines] == [["EVENT", "NAME", "DATA"], ["ADDED", "w", "0"], ["MODIFIED", "w", "1"], ["DELETED", "w", "1"]]


def test_describing(kubectl: Any, node: str) -> None:
    kubectl.deployment("web")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    pod = kubectl.value(".items[0].metadata.name", "pods")
    address = kubectl.value(".status.podIP", "pod", pod)
    kubectl.until(lambda: address in kubectl("get", "ep", "web"))
    expected = {
        ("node", node): [r"Name: +" + node, r"Ready +True .*KubeletReady +kubelet is posting ready status", r"InternalIP: +\S", r"PodCIDR: +\S"],
        ("pod", pod): [
            rf"Node: +{node}/",
            r"Status: +Running",
            rf"IP: +{address}",
            r"Controlled By: +ReplicaSet/web-",
            r"Image: +localhost/navarch/sample:1",
            r"State: +Running",
            r"Restart Count: +0",
            r"QoS Class: +BestEffort",
            r"Ready +True",
            r"kube-api-access-\w+:",
            r"Normal +Scheduled .*default-scheduler",
            r"Normal +Started .*kubelet",
        ],
        ("svc", "web"): [
            r"Selector: +app=web",
            r"Type: +ClusterIP",
            r"TargetPort: +8080/TCP",
            rf"Endpoints: +{address}:8080",
            r"Session Affinity: +None",
        ],
        ("deploy", "web"): [
            r"Replicas: +1 desired \| 1 updated \| 1 total \| 1 available \| 0 unavailable",
            r"StrategyType: +RollingUpdate",
            r"25% max unavailable, 25% max surge",
            r"Available +True +MinimumReplicasAvailable",
            r"NewReplicaSet: +web-\S+ \(1/1 replicas created\)",
            r"ScalingReplicaSet .*deployment-controller",
        ],
        ("rs",): [
            r"Controlled By: +Deployment/web",
            r"Replicas: +1 current / 1 desired",
            r"Pods Status: +1 Running / 0 Waiting",
            r"SuccessfulCreate .*replicaset-controller",
        ],
        ("ep", "web"): [rf"Addresses: +{address}", r"NotReadyAddresses: +<none>", r"8080 +TCP"],
        ("endpointslices",): [r"AddressType: +IPv4", rf"Addresses: +{address}", r"Ready: +true", rf"TargetRef: +Pod/{pod}", rf"NodeName: +{node}"],
        ("events",): [r"Reason: +ScalingReplicaSet", r"Involved Object:", r"Kind: +Deployment"],
        ("ns", kubectl.namespace): [r"Status: +Active", r"No resource quota\.", r"No LimitRange resource\."],
        ("sa", "default"): [r"Name: +default"],
    }
    for words, patterns in expected.items():
        printed = kubectl("describe", *words)
        for pattern in patterns:
            assert re.search(pattern, printed), f"describe {words}: {pattern} in\n{printed}"


def test_explain(kubectl: Any) -> None:
    assert re.search(r"KIND: +Pod\nVERSION: +v1\n\nFIELD: resources <ResourceRequirements>", kubectl("explain", "pod.spec.containers.resources"))
    deployment = kubectl("explain", "deployment.spec")
    assert re.search(r"GROUP: +apps\nKIND: +Deployment\nVERSION: +v1", deployment)
    assert "replicas\t<integer>" in deployment and "template\t<PodTemplateSpec> -required-" in deployment
    assert "progressDeadlineSeconds\t<integer>" in kubectl("explain", "deploy", "--recursive")
    assert "enum: Recreate, RollingUpdate" in kubectl("explain", "deploy.spec.strategy")
    assert 'field "nope" does not exist' in kubectl.fails("explain", "pod.nope")


def test_what_is_served(kubectl: Any) -> None:
    resources = kubectl("api-resources")
    assert heading(resources) == "NAME SHORTNAMES APIVERSION NAMESPACED KIND"
    for row in ("pods po v1 true Pod", "deployments deploy apps/v1 true Deployment", "nodes no v1 false Node", "jobs batch/v1 true Job"):
        assert row.split() in [line.split() for line in resources.splitlines()]
    wide = [line.split() for line in kubectl("api-resources", "-o", "wide", "--api-group=apps").splitlines()]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment", "create,delete,deletecollection,get,list,patch,update,watch", "all"] in wide
    assert "pods" in kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "events.k8s.io/v1", "autoscaling/v2"} <= set(versions)
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"].startswith("v1.36.")
    assert re.search(r"^Server Version: v1\.36\.", kubectl("version"), re.MULTILINE)
    information = re.sub(r"\x1b\[[\d;]*m", "", kubectl("cluster-info"))
    assert re.search(r"^Kubernetes control plane is running at https://", information, re.MULTILINE)
    assert kubectl("get", "--raw", "/readyz") == "ok"
    dumped = kubectl("cluster-info", "dump", "--namespaces", "default")
    assert '"kind": "NodeList"' in dumped and "==== START logs for container" in dumped


def test_auth(kubectl: Any) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    refused = kubectl.run("auth", "can-i", "create", "pods", "--as=nobody")
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    everything = kubectl("auth", "can-i", "--list")
    assert heading(everything) == "Resources Non-Resource URLs Resource Names Verbs" and "*.*" in everything
    assert re.search(r"Groups +\[system:masters system:authenticated\]", kubectl("auth", "whoami"))
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "read-pods", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "readers", "--role=read-pods", f"--serviceaccount={kubectl.namespace}:reader")
    account = f"--as=system:serviceaccount:{kubectl.namespace}:reader"
    assert kubectl("auth", "can-i", "list", "pods", account) == "yes\n"
    assert kubectl.run("auth", "can-i", "delete", "pods", account).stdout == "no\n"
    assert kubectl("get", "pods", account, "-o", "name") == ""
    assert kubectl.fails("get", "secrets", account) == (
        f'Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:{kubectl.namespace}:reader" '
        f'cannot list resource "secrets" in API group "" in the namespace "{kubectl.namespace}"\n'
    )
    token = kubectl("create", "token", "reader").strip()
    assert token.count(".") == 2
    own = subprocess.run(
        [*kubectl.command("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"), f"--token={token}", "--kubeconfig=" + _tokens(kubectl)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert own.stdout == f"system:serviceaccount:{kubectl.namespace}:reader"


def _tokens(kubectl: Any) -> str:
    """A kubeconfig without the administrator's certificate."""
    found = yaml.safe_load(kubectl.kubeconfig.read_text())
    found["users"][0]["user"] = {}
    return str(kubectl.file("tokens", yaml.safe_dump(found)))


def test_config(kubectl: Any) -> None:
    own = f"--kubeconfig={kubectl.file('config', kubectl.kubeconfig.read_text())}"
    context = kubectl("config", "current-context", own).strip()
    shown = yaml.safe_load(kubectl("config", "view", own))
    assert shown["kind"] == "Config" and shown["clusters"][0]["cluster"]["server"].startswith("https://")
    assert "DATA+OMITTED" in kubectl("config", "view", own)
    assert heading(kubectl("config", "get-contexts", own)) == "CURRENT NAME CLUSTER AUTHINFO NAMESPACE"
    assert kubectl("config", "set-context", "--current", "--namespace=kube-system", own) == f'Context "{context}" modified.\n'
    kubectl.namespace, before = "", kubectl.namespace
    names = subprocess.run(["kubectl", own, "get", "services", "-o", "name"], capture_output=True, text=True, check=True, timeout=30).stdout
    kubectl.namespace = before
    assert names == "service/kube-dns\n"
    assert kubectl("config", "rename-context", context, "mine", own) == f'Context "{context}" renamed to "mine".\n'
    assert kubectl("config", "use-context", "mine", own) == 'Switched to context "mine".\n'
