"""What `kubectl` changes: create, run, expose, apply, diff, edit, patch, label, scale, rollouts, nodes, deletion, dry runs."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

APP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {text: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
data: {word: b3Blbg==}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: localhost/navarch/sample:1
        command: [sh, -c, 'mkdir /tmp/w; echo "$WORD $(cat /page/text)" >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w']
        env: [{name: WORD, valueFrom: {secretKeyRef: {name: password, key: word}}}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /page}]
      volumes: [{name: page, configMap: {name: page}}]
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: "localhost/navarch/sample:1", command: [echo, done]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""
REJECTED = "the server rejected our request due to an error in our request"
KINDS = (
    "configmap/page",
    "secret/password",
    "deployment.apps/app",
    "service/app",
    "job.batch/once",
    "serviceaccount/reader",
    "role.rbac.authorization.k8s.io/reader",
    "rolebinding.rbac.authorization.k8s.io/reader",
)


def test_apply_of_many_documents(kubectl: Any) -> None:
    file = kubectl.file("app.yaml", APP)
    assert kubectl.run("diff", "-f", file).returncode == 1, "everything is new"
    assert kubectl("apply", "-f", file, "--dry-run=client").splitlines() == [f"{k} created (dry run)" for k in KINDS]
    assert kubectl("apply", "-f", file, "--dry-run=server").splitlines() == [f"{k} created (server dry run)" for k in KINDS]
    assert kubectl("get", "deploy,svc,jobs,roles", "-o", "name") == ""
    assert kubectl("apply", "-f", file).splitlines() == [f"{k} created" for k in KINDS]
    assert kubectl("apply", "-f", file).splitlines() == [f"{k} unchanged" for k in KINDS]
    assert kubectl("diff", "-f", file) == ""
    kubectl("wait", "--for=condition=Available", "deployment/app", "--timeout=30s")
    assert kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=30s") == "job.batch/once condition met\n"
    assert kubectl("logs", "job/once") == "done\n"
    assert [r[:3] for r in kubectl.rows("jobs")] == [["once", "Complete", "1/1"]]
    ask = ("exec", "deploy/app", "--", "wget", "-qO-", "http://app")
    kubectl.until(lambda: kubectl.run(*ask).stdout == "open hello\n", 10)
    assert kubectl("auth", "can-i", "list", "pods", f"--as=system:serviceaccount:{kubectl.namespace}:reader") == "yes\n"
    changed = kubectl.file("changed.yaml", APP.replace("text: hello", "text: bye"))
    differs = kubectl.run("diff", "-f", changed)
    assert differs.returncode == 1 and "-  text: hello" in differs.stdout and "+  text: bye" in differs.stdout
    assert "configmap/page configured" in kubectl("apply", "-f", changed)
    assert kubectl("delete", "-f", file, "--wait=false").count("deleted") == len(KINDS)


def test_apply_takes_fields_away_again(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=kubectl.config_map("c", a="1", b="2"))
    kubectl("patch", "cm", "c", "--type=merge", "-p", '{"data":{"own":"x"}}')
    kubectl("apply", "-f", "-", stdin=kubectl.config_map("c", a="3"))
    assert kubectl.read("cm", "c")["data"] == {"a": "3", "own": "x"}
    assert "kubectl.kubernetes.io/last-applied-configuration" in kubectl.read("cm", "c")["metadata"]["annotations"]
    assert json.loads(kubectl("apply", "view-last-applied", "cm", "c", "-o", "json"))["data"] == {"a": "3"}


def test_server_side_apply(kubectl: Any) -> None:
    first = kubectl.config_map("c", a="1", b="2")
    other = kubectl.config_map("c", a="9")
    apply = ("apply", "--server-side", "-f", "-")
    assert kubectl(*apply, stdin=first) == "configmap/c serverside-applied\n"
    conflict = kubectl.fails(*apply, "--field-manager=other", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' in conflict
    assert kubectl(*apply, "--field-manager=other", "--force-conflicts", stdin=other) == "configmap/c serverside-applied\n"
    managers = kubectl.read("cm", "c", "--show-managed-fields")["metadata"]["managedFields"]
    assert {m["manager"]: sorted(m["fieldsV1"]["f:data"]) for m in managers} == {"kubectl": ["f:b"], "other": ["f:a"]}
    kubectl(*apply, stdin=kubectl.config_map("c"))
    assert kubectl.read("cm", "c")["data"] == {"a": "9"}
    kubectl(*apply, stdin=APP)
    assert kubectl("diff", "--server-side", "-f", "-", stdin=APP) == ""


def test_create_run_and_expose(kubectl: Any) -> None:
    assert kubectl("create", "deployment", "web", f"--image={kubectl.image}", "--replicas=2", "--port=8080") == "deployment.apps/web created\n"
    exists = kubectl.fails("create", "deployment", "web", f"--image={kubectl.image}")
    assert exists == 'error: failed to create deployment: deployments.apps "web" already exists\n'
    kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080") == "service/web exposed\n"
    assert kubectl("expose", "deployment", "web", "--name=open", "--type=NodePort", "--port=8080") == "service/open exposed\n"
    port = int(kubectl.value(".spec.ports[0].nodePort", "svc", "open"))
    assert 30000 <= port <= 32767 and kubectl.rows("svc", "open")[0][4] == f"8080:{port}/TCP"
    assert (
        kubectl("run", "ask", f"--image={kubectl.image}", "--labels=a=b", "--env=X=y", "--restart=Never", "--", "sh", "-c", "true")
        == "pod/ask created\n"
    )
    assert kubectl("get", "pod", "ask", "-o", "jsonpath={.metadata.labels.a}{.spec.containers[0].env[0].value}") == "by"
    assert kubectl("create", "job", "one", f"--image={kubectl.image}", "--", "true") == "job.batch/one created\n"
    assert kubectl("create", "cronjob", "tick", f"--image={kubectl.image}", "--schedule=0 0 1 1 *", "--", "true") == "cronjob.batch/tick created\n"
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    assert kubectl.rows("secret", "s")[0][:3] == ["s", "Opaque", "1"] and kubectl.value(".data.a", "secret", "s") == "Yg=="
    kubectl("create", "quota", "many", "--hard=configmaps=100")
    kubectl("create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: made-}")
    assert re.fullmatch(r"configmap/made-[a-z0-9]{5}", kubectl("get", "cm", "-o", "name").splitlines()[-1])
    replaced = kubectl("replace", "-f", "-", stdin="apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: c}")
    assert replaced == "secret/s replaced\n" and kubectl.value(".data.a", "secret", "s") == "Yw=="


def test_dry_run(kubectl: Any) -> None:
    printed = kubectl("create", "deployment", "web", f"--image={kubectl.image}", "--dry-run=client", "-o", "yaml")
    assert "kind: Deployment" in printed and "uid" not in printed
    served = json.loads(kubectl("create", "deployment", "web", f"--image={kubectl.image}", "--dry-run=server", "-o", "json"))
    assert served["metadata"]["uid"] and served["spec"]["progressDeadlineSeconds"] == 600
    assert "not found" in kubectl.fails("get", "deployment", "web")
    kubectl("create", "configmap", "c")
    assert kubectl("label", "cm", "c", "a=b", "--dry-run=server") == "configmap/c labeled (server dry run)\n"
    assert kubectl("delete", "cm", "c", "--dry-run=server") == 'configmap "c" deleted (server dry run)\n'
    assert kubectl("patch", "cm", "c", "-p", '{"data":{"a":"b"}}', "--dry-run=client") == "configmap/c patched\n"
    assert kubectl.read("cm", "c").get("data") is None and "labels" not in kubectl.read("cm", "c")["metadata"]


def test_edit(kubectl: Any) -> None:
    kubectl("create", "configmap", "c", "--from-literal=colour=red")
    editor = kubectl.file("editor", "#!/bin/sh\nexec sed -i 's/colour: red/colour: blue/' \"$1\"\n")
    assert kubectl("edit", "cm", "c", env={"KUBE_EDITOR": f"sh {editor}"}) == "configmap/c edited\n"
    assert kubectl.value(".data.colour", "cm", "c") == "blue"
    assert "Edit cancelled, no changes made." in kubectl.run("edit", "cm", "c", env={"KUBE_EDITOR": "true"}).stderr
    plain = kubectl("edit", "cm", "c", env={"EDITOR": "sed -i s/blue/green/", "KUBE_EDITOR": ""})
    assert plain == "configmap/c edited\n" and kubectl.value(".data.colour", "cm", "c") == "green"


def test_patch(kubectl: Any) -> None:
    kubectl("create", "deployment", "web", f"--image={kubectl.image}", "--replicas=0")
    patch = ("patch", "deployment", "web")
    added = '{"spec":{"template":{"spec":{"containers":[{"name":"more","image":"localhost/navarch/pause:1"}]}}}}'
    assert kubectl(*patch, "-p", added) == "deployment.apps/web patched\n"
    assert sorted(kubectl.value(".spec.template.spec.containers[*].name", "deploy", "web").split()) == ["more", "sample"]
    assert kubectl(*patch, "-p", added) == "deployment.apps/web patched (no change)\n"
    kubectl(*patch, "--type=merge", "-p", added)
    assert kubectl.value(".spec.template.spec.containers[*].name", "deploy", "web") == "more"
    kubectl(*patch, "--type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":0},{"op":"add","path":"/metadata/labels/x","value":"y"}]')
    assert kubectl.value(".metadata.labels.x", "deploy", "web") == "y"
    kubectl(*patch, "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}')
    assert kubectl.fails(*patch, "--type=json", "-p", '[{"op":"remove","path":"/nope"}]') == f"The request is invalid: {REJECTED}\n"


def test_label_and_annotate(kubectl: Any) -> None:
    kubectl("create", "configmap", "c")
    assert kubectl("label", "cm", "c", "tier=front") == "configmap/c labeled\n"
    assert "'tier' already has a value (front), and --overwrite is false" in kubectl.fails("label", "cm", "c", "tier=back")
    assert kubectl("label", "cm", "c", "tier=back", "--overwrite") == "configmap/c labeled\n"
    assert kubectl("label", "cm", "c", "tier-") == "configmap/c unlabeled\n"
    assert kubectl("annotate", "cm", "c", "note=some words") == "configmap/c annotated\n"
    assert kubectl.value(".metadata.annotations.note", "cm", "c") == "some words"
    assert kubectl("annotate", "cm", "--all", "note-").count("annotated") == 2
    assert "must be no more than 63" in kubectl.fails("label", "cm", "c", f"tier={'x' * 64}")


def test_scale_and_autoscale(kubectl: Any) -> None:
    kubectl.deployment("web")
    assert kubectl("scale", "deployment", "web", "--replicas=3") == "deployment.apps/web scaled\n"
    kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert kubectl.rows("deploy", "web")[0][1] == "3/3"
    assert "Expected replicas to be 1, was 3" in kubectl.fails("scale", "deploy", "web", "--current-replicas=1", "--replicas=2")
    kubectl("scale", "deployment", "web", "--replicas=0")
    kubectl.until(lambda: kubectl("get", "pods", "-o", "name") == "")
    assert (
        kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=80") == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    )
    printed = kubectl("get", "hpa")
    assert printed.split("\n")[0].split() == ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"]
    assert re.search(r"web +Deployment/web +cpu: <unknown>/80% +1 +3 +0", printed)
    assert kubectl.value(".metadata.name", "hpa.v1.autoscaling", "web") == "web"


def test_rollout(kubectl: Any) -> None:
    kubectl.deployment("web")
    settle = ("rollout", "status", "deployment/web", "--timeout=30s")
    container = kubectl.value(".spec.template.spec.containers[0].name", "deploy", "web")
    kubectl("set", "env", "deployment/web", "VERSION=2")
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second")
    assert kubectl(*settle).endswith('deployment "web" successfully rolled out\n')
    kubectl.until(lambda: "second" in kubectl("rollout", "history", "deployment/web"), 5)
    history = kubectl("rollout", "history", "deployment/web").split()
    assert history == ["deployment.apps/web", "REVISION", "CHANGE-CAUSE", "1", "<none>", "2", "second"]
    assert re.search(r"VERSION:\s+2", kubectl("rollout", "history", "deployment/web", "--revision=2"))
    assert kubectl("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    kubectl(*settle)
    assert kubectl.read("deploy", "web")["spec"]["template"]["spec"]["containers"][0].get("env") is None
    assert kubectl("rollout", "history", "deployment/web").split()[3::2] == ["2", "3"]
    assert kubectl("rollout", "undo", "deployment/web", "--to-revision=2") == "deployment.apps/web rolled back\n"
    assert "unable to find specified revision 77" in kubectl.fails("rollout", "undo", "deployment/web", "--to-revision=77")
    kubectl(*settle)
    assert kubectl("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    assert "is already paused" in kubectl.fails("rollout", "pause", "deployment/web")
    assert kubectl("set", "image", "deployment/web", f"{container}=localhost/navarch/none:1") == "deployment.apps/web image updated\n"
    time.sleep(0.5)
    assert len(kubectl("get", "rs", "-o", "name").split()) == 2, "a paused deployment makes no new replica set"
    assert kubectl("rollout", "resume", "deployment/web") == "deployment.apps/web resumed\n"
    assert "timed out waiting for the condition" in kubectl.fails("rollout", "status", "deployment/web", "--timeout=2s")
    kubectl.until(lambda: {"ErrImagePull", "ImagePullBackOff"} & {r[2] for r in kubectl.rows("pods")}, 20)
    assert kubectl.rows("deploy", "web")[0][1] == "1/1", "the old pod serves until the new one does"
    kubectl("rollout", "undo", "deployment/web")
    kubectl(*settle)
    before = kubectl.value(".items[*].metadata.uid", "pods", "--field-selector=status.phase=Running")
    assert kubectl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    kubectl(*settle)
    kubectl.until(lambda: len(kubectl.rows("pods")) == 1)
    assert kubectl.value(".items[*].metadata.uid", "pods") != before
    assert "kubectl.kubernetes.io/restartedAt" in kubectl("get", "deploy", "web", "-o", "yaml")


@pytest.mark.parametrize(("cascade", "left"), [("background", False), ("foreground", False), ("orphan", True)])
def test_delete_cascades(kubectl: Any, cascade: str, left: bool) -> None:
    kubectl.deployment("web")
    assert kubectl("delete", "deployment", "web", f"--cascade={cascade}") == 'deployment.apps "web" deleted\n'
    if left:
        time.sleep(1)
        found = kubectl.read("rs")["items"]
        assert len(found) == 1 and "ownerReferences" not in found[0]["metadata"]
    elif cascade == "foreground":
        assert kubectl("get", "rs", "-o", "name") == ""
    else:
        kubectl.until(lambda: kubectl("get", "rs,pods", "-o", "name") == "", 40)


def test_delete(kubectl: Any) -> None:
    stubborn = "trap '' TERM; while true; do sleep 1; done"
    kubectl.pod("slow", "--labels=a=b", command=stubborn)
    kubectl.pod("hard", command=stubborn)
    began = time.monotonic()
    assert kubectl("delete", "pod", "slow", "--grace-period=2") == 'pod "slow" deleted\n'
    assert 1.5 < time.monotonic() - began < 6
    forced = kubectl.run("delete", "pod", "hard", "--grace-period=0", "--force")
    assert forced.stdout == 'pod "hard" force deleted\n' and "Immediate deletion does not wait" in forced.stderr
    for name in "xyz":
        kubectl("create", "configmap", name)
    kubectl("label", "cm", "x", "y", "group=1")
    assert kubectl("delete", "cm", "-l", "group=1") == 'configmap "x" deleted\nconfigmap "y" deleted\n'
    assert kubectl("delete", "cm", "nope", "--ignore-not-found") == ""
    assert kubectl.fails("delete", "cm", "nope") == 'Error from server (NotFound): configmaps "nope" not found\n'
    waiting = kubectl.started("wait", "--for=delete", "cm/z", "--timeout=20s")
    kubectl("delete", "cm", "--all")
    waiting.communicate()
    assert waiting.returncode == 0


def test_wait(kubectl: Any) -> None:
    kubectl("run", "p", f"--image={kubectl.image}")
    assert kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=30s") == "pod/p condition met\n"
    assert kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/p", "--timeout=5s") == "pod/p condition met\n"
    assert "timed out waiting for the condition on pods/p" in kubectl.fails("wait", "--for=condition=Nope", "pod/p", "--timeout=1s")
    creating = kubectl.started("wait", "--for=create", "configmap/later", "--timeout=20s")
    kubectl("create", "configmap", "later")
    assert "configmap/later condition met" in creating.communicate()[0]


def test_nodes(kubectl: Any, node: str) -> None:
    kubectl.deployment("web")
    mine = f"--pod-selector=app=web,of={kubectl.namespace}"
    kubectl("patch", "deployment", "web", "-p", f'{{"spec":{{"template":{{"metadata":{{"labels":{{"of":"{kubectl.namespace}"}}}}}}}}}}')
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl.until(lambda: len(kubectl.rows("pods")) == 1)
    old = kubectl("get", "pods", "-o", "name").strip()
    try:
        assert kubectl("cordon", node) == f"node/{node} cordoned\n"
        assert kubectl("cordon", node) == f"node/{node} already cordoned\n"
        assert kubectl.rows("nodes")[0][1] == "Ready,SchedulingDisabled"
        assert "node.kubernetes.io/unschedulable:NoSchedule" in kubectl.until(lambda: _taints(kubectl, node), 5)
        drained = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", mine, "--timeout=60s")
        assert f"evicting pod {kubectl.namespace}/" in drained and f"{old} evicted\n" in drained and f"node/{node} drained\n" in drained
        pending = kubectl.until(lambda: kubectl("get", "pods", "--field-selector=status.phase=Pending", "-o", "name").strip(), 5)
        kubectl.until(lambda: "unschedulable" in kubectl("describe", pending), 5)
        assert "0/1 nodes are available: 1 node(s) were unschedulable" in kubectl("describe", pending)
    finally:
        assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"
    kubectl("wait", "--for=condition=Ready", pending, "--timeout=20s")
    assert kubectl("taint", "nodes", node, "dedicated=x:NoSchedule") == f"node/{node} tainted\n"
    try:
        assert re.search(r"Taints: +dedicated=x:NoSchedule", kubectl("describe", "node", node))
        kubectl("run", "p", f"--image={kubectl.image}")
        kubectl.until(lambda: "untolerated taint" in kubectl("describe", "pod", "p"), 5)
    finally:
        assert kubectl("taint", "nodes", node, "dedicated-") == f"node/{node} untainted\n"
    kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")


def _taints(kubectl: Any, node: str) -> str:
    return " ".join(f"{t['key']}:{t['effect']}" for t in kubectl.read("node", node)["spec"].get("taints", ()))
