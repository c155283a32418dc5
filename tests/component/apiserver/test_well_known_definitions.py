"""Every kubectl on the PATH, and Helm, with definitions as large and as old as the well-known operators' are.

Needs `kubectl` on the PATH (each one found there is tried), and `helm` (4 or later) for charts.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import pathlib
import shutil
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from navarch.apiserver.extensions import schemas
from navarch.machinery import schema
from navarch.machinery.structural import check
from navarch.machinery.structural import schema as structural
from navarch.testing import server
from tests.component.apiserver import well_known
from tests.component.apiserver.definitions import define
from tests.component.apiserver.programs import Program, every

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = itertools.count()
KUBECTLS: list[Any] = [*every("kubectl")] or [pytest.param("kubectl", marks=pytest.mark.skip(reason="kubectl is not installed"))]
SPEC = {
    "version": "v3.0.0",
    "replicas": 2,
    "port": "web",
    "retentionSize": "50Gi",
    "additionalArgs": [{"name": "a", "value": "1"}],
    "web": {"pageTitle": "x", "more": {"deep": [1]}},
    "containers": [{"name": "prometheus", "ports": [{"containerPort": 9090}], "resources": {"requests": {"memory": "400Mi", "cpu": 1}}}],
}


@pytest_asyncio.fixture(loop_scope="module", params=KUBECTLS)
async def kubectl(request: Any, api: server.ApiServer, ns: str, tmp_path: pathlib.Path) -> AsyncIterator[Program]:
    yield Program(request.param, api.write_kubeconfig(tmp_path / "config"), ns)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pod(http: Any) -> dict[str, Any]:
    return well_known.structural((await http("GET", "/openapi/v3/api/v1")).json, "io.k8s.api.core.v1.PodSpec")


def lines(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


async def test_a_definition_with_a_whole_pod_inside(kubectl: Program, pod: dict[str, Any], tmp_path: pathlib.Path) -> None:
    group = f"monitoring{next(NUMBERS)}.example.com"
    tree = well_known.prometheus(group, pod)
    crd, file = f"crd/prometheuses.{group}", tmp_path / "crd.json"
    file.write_text(json.dumps(tree))
    assert file.stat().st_size > 400_000
    # As with upstream: the definition does not fit into the annotation that an apply on the client's side writes.
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in await kubectl.fails("apply", "-f", str(file))
    for _ in range(2):
        assert await kubectl("apply", "--server-side", "-f", str(file)) == (
            f"customresourcedefinition.apiextensions.k8s.io/prometheuses.{group} serverside-applied\n"
        )
    assert "condition met" in await kubectl("wait", "--for=condition=Established", "--timeout=10s", crd)

    sent: dict[str, Any] = {"apiVersion": f"{group}/v1", "kind": "Prometheus", "metadata": {"name": "k8s"}, "spec": copy.deepcopy(SPEC)}
    whole = f"prometheuses.{group}"
    applied = ("apply", "--server-side", "-f", "-")
    wrong = {**sent, "spec": {**SPEC, "retentionSize": "50GB"}}
    assert 'spec.retentionSize: Invalid value: "50GB"' in await kubectl.fails(*applied, stdin=json.dumps(wrong))
    assert "serverside-applied" in await kubectl(*applied, stdin=json.dumps(sent))
    held = json.loads(await kubectl("get", whole, "k8s", "-o", "json"))
    assert held["spec"]["retention"] == "24h"
    assert held["spec"]["web"] == SPEC["web"]
    assert held["spec"]["containers"][0]["ports"] == [{"containerPort": 9090, "protocol": "TCP"}]

    sent["spec"]["replicas"] = 3
    sent["spec"]["additionalArgs"].append({"name": "b"})
    for side in ([], ["--server-side"]):
        code, shown = await kubectl.run("diff", *side, "-f", "-", stdin=json.dumps(sent))
        assert code == 1 and "+  replicas: 3" in shown and "-  replicas: 2" in shown and "+  - name: b" in shown, shown
    await kubectl(*applied, stdin=json.dumps(sent))
    code, shown = await kubectl.run("diff", "--server-side", "-f", "-", stdin=json.dumps(sent))
    assert (code, shown) == (0, "")

    header, row = lines(await kubectl("get", whole))
    assert header == ["NAME", "VERSION", "DESIRED", "READY", "RECONCILED", "AVAILABLE", "AGE"]
    assert row[:-1] == ["k8s", "v3.0.0", "3"]
    assert lines(await kubectl("get", whole, "-o", "wide"))[0][-1] == "PAUSED"
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"} for kind in ("Available", "Reconciled")]
    status = json.dumps({"status": {"availableReplicas": 3, "paused": False, "conditions": conditions}})
    await kubectl("patch", whole, "k8s", "--subresource=status", "--type=merge", "-p", status)
    assert "condition met" in await kubectl("wait", "--for=condition=Available", f"{whole}/k8s", "--timeout=5s")
    assert "condition met" in await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=3", f"{whole}/k8s", "--timeout=5s")
    assert lines(await kubectl("get", whole, "--no-headers"))[0][:-1] == ["k8s", "v3.0.0", "3", "3", "True", "True"]
    assert lines(await kubectl("get", whole, "--no-headers", "-o", "wide"))[0][-1] == "false"
    assert "scaled" in await kubectl("scale", f"{whole}/k8s", "--replicas=4")
    assert "at most 100 replicas" in await kubectl.fails("scale", f"{whole}/k8s", "--replicas=400")

    explained = await kubectl("explain", f"{whole}.spec.containers.ports")
    assert "FIELD: ports <[]Object>" in explained and "containerPort\t<integer> -required-" in explained
    assert "A port by its number or name." in await kubectl("explain", f"{whole}.spec.port")
    assert "deleted" in await kubectl("delete", crd)
    assert "doesn't have a resource type" in await kubectl.fails("get", whole, f"--cache-dir={tmp_path}")


async def test_what_follows_from_a_large_schema_is_made_in_the_background(
    http: Any, ns: str, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes half a second once, for which nobody else waits."""
    group = f"monitoring{next(NUMBERS)}.example.com"
    await define(http, well_known.prometheus(group, pod))
    threads: list[str] = []

    def noted(work: Any) -> Any:
        def call(*args: Any) -> Any:
            threads.append(threading.current_thread().name)
            return work(*args)

        return call

    monkeypatch.setattr(schemas, "parse", noted(structural.parse))
    monkeypatch.setattr(check, "compiled", noted(check.compiled))
    monkeypatch.setattr(schema, "custom", noted(schema.custom))
    path = f"/apis/{group}/v1/namespaces/{ns}/prometheuses"
    sent = [{"apiVersion": f"{group}/v1", "kind": "Prometheus", "metadata": {"name": f"k{n}"}, "spec": SPEC} for n in range(3)]
    answers = await asyncio.gather(*(http("POST", path, one) for one in sent))
    assert [answer.status for answer in answers] == [201] * 3
    large = [name for name in threads if name.startswith("large-objects")]
    assert len(large) >= 3 and len(threads) - len(large) <= 1, threads  # the small schema of the status may be compiled at once


async def test_a_definition_of_several_versions(kubectl: Program, tmp_path: pathlib.Path) -> None:
    group = f"certs{next(NUMBERS)}.example.com"
    file = tmp_path / "crd.json"
    file.write_text(json.dumps(well_known.certificate(group)))
    assert "created" in await kubectl("apply", "-f", str(file))
    assert "unchanged" in await kubectl("apply", "-f", str(file))
    await kubectl("wait", "--for=condition=Established", "--timeout=10s", f"crd/certificates.{group}")
    issuer = {"name": "ca"}
    sent: dict[str, Any] = {
        "apiVersion": f"{group}/v1beta1",
        "kind": "Certificate",
        "metadata": {"name": "web"},
        "spec": {"secretName": "web", "issuerRef": issuer, "usages": ["signing"], "privateKey": {}},
    }

    async def apply(tree: dict[str, Any], *words: str) -> str:
        return await kubectl("apply", *words, "-f", "-", stdin=json.dumps(tree))

    assert await apply(sent) == (f"Warning: {group}/v1beta1 Certificate is deprecated; use {group}/v1 Certificate\ncertificate.{group}/web created\n")
    sent["apiVersion"], sent["spec"]["usages"] = f"{group}/v1", ["server auth"]
    assert await apply(sent) == f"certificate.{group}/web configured\n"
    assert await apply(sent) == f"certificate.{group}/web unchanged\n"
    warning, _, printed = (await kubectl("get", f"certificates.v1beta1.{group}", "web", "-o", "json")).partition("\n")
    assert warning == f"Warning: {group}/v1beta1 Certificate is deprecated; use {group}/v1 Certificate"
    held = json.loads(printed)
    assert held["spec"]["usages"] == ["server auth"] and held["spec"]["privateKey"] == {"algorithm": "RSA"}
    assert held["apiVersion"] == f"{group}/v1beta1"
    absent = await kubectl.fails("apply", "-f", "-", stdin=json.dumps({**sent, "apiVersion": f"{group}/v1alpha2"}))
    assert f'no matches for kind "Certificate" in version "{group}/v1alpha2"' in absent

    unknown = {**sent, "spec": {**sent["spec"], "unknwon": 1}}
    assert 'strict decoding error: unknown field "spec.unknwon"' in await kubectl.fails("apply", "-f", "-", stdin=json.dumps(unknown))
    assert ".spec.unknwon: field not declared in schema" in await kubectl.fails(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(unknown)
    )
    assert 'Warning: unknown field "spec.unknwon"' in await apply(unknown, "--validate=warn")
    assert "conflict with" in await kubectl.fails(
        "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=json.dumps({**sent, "spec": {**sent["spec"], "secretName": "other"}})
    )
    assert "serverside-applied" in await apply(sent, "--server-side")

    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}
    status = json.dumps({"status": {"conditions": [condition]}})
    await kubectl("patch", f"certificates.{group}", "web", "--subresource=status", "--type=merge", "-p", status)
    await kubectl("wait", "--for=condition=Ready", f"certificates.{group}/web", "--timeout=5s")
    assert lines(await kubectl("get", f"certs.{group}"))[0] == ["NAME", "READY", "SECRET", "AGE"]
    assert lines(await kubectl("get", "cert-manager", "-o", "wide"))[1][:4] == ["web", "True", "web", "ca"]
    assert lines(await kubectl("api-resources", "--categories=cert-manager"))[1] == [
        "certificates",
        "cert,certs",
        f"{group}/v1",
        "true",
        "Certificate",
    ]
    explained = await kubectl("explain", "certificates.spec.secretName", f"--api-version={group}/v1beta1")
    assert "VERSION:    v1beta1\n\nFIELD: secretName <string>" in explained
    assert "deleted" in await kubectl("delete", f"crd/certificates.{group}")
    assert "NotFound" in await kubectl.fails("get", f"crd/certificates.{group}")


CERTIFICATE = """
apiVersion: {group}/v1
kind: Certificate
metadata:
  name: {{{{ .Release.Name }}}}
spec:
  secretName: {{{{ .Values.secret }}}}
  issuerRef: {{name: ca}}
"""


@pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm on the PATH")
async def test_a_chart_with_definitions_of_its_own(http: Any, api: server.ApiServer, ns: str, tmp_path: pathlib.Path) -> None:
    """Helm makes what is in crds/ first, and neither changes it when it upgrades nor takes it away."""
    group = f"charted{next(NUMBERS)}.example.com"
    folder, tree = tmp_path / "chart", well_known.certificate(group)
    for name in ("crds", "templates"):
        (folder / name).mkdir(parents=True)
    (folder / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "certs", "version": "1.0.0"}))
    (folder / "values.yaml").write_text("secret: first\n")
    (folder / "crds" / "certificates.yaml").write_text(yaml.safe_dump(tree))
    (folder / "templates" / "certificate.yaml").write_text(CERTIFICATE.format(group=group))
    helm = Program(shutil.which("helm") or "", api.write_kubeconfig(tmp_path / "config"), ns)
    path = f"/apis/{group}/v1/namespaces/{ns}/certificates/one"
    definition = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.{group}"

    async def secret() -> str:
        return str((await http("GET", path)).json["spec"]["secretName"])

    await helm("install", "one", str(folder))
    assert await secret() == "first"
    before = (await http("GET", definition)).json
    tree["spec"]["names"]["shortNames"].append("crt")
    (folder / "crds" / "certificates.yaml").write_text(yaml.safe_dump(tree))
    await helm("upgrade", "one", str(folder), "--set=secret=second")
    assert await secret() == "second"
    assert (await http("GET", definition)).json["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    await helm("rollback", "one", "1")
    assert await secret() == "first"
    await helm("uninstall", "one")
    assert (await http("GET", path)).status == 404
    assert (await http("GET", definition)).status == 200
    await http("DELETE", definition)
