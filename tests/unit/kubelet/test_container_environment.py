"""Environment variables, expansion, the downward API."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.kubelet.core import downward, env


def pod(namespace: str = "default", **spec: object) -> v1.Pod:
    meta = meta_v1.ObjectMeta(name="web", namespace=namespace, uid="u1", labels={"app": "x", "a b": 'q"q'})
    return v1.Pod(metadata=meta, spec=v1.PodSpec(nodeName="n1", serviceAccountName="sa", **spec))  # type: ignore[arg-type]


def variable(name: str, value: str) -> v1.EnvVar:
    return v1.EnvVar(name=name, value=value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("cost: $", "cost: $"),
        ("$(A)$(", "1$("),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert env.expand(text, {"A": "1", "B": "2"}.get) == expected


@given(st.text(alphabet="ab$()", max_size=20))
def test_expansion_of_nothing_known_only_unescapes(text: str) -> None:
    assert env.expand(text, lambda _: None).count("$") <= text.count("$")
    if "$" not in text:
        assert env.expand(text, lambda _: None) == text


def test_values_refer_to_earlier_ones_and_services() -> None:
    service = v1.Service(
        metadata=meta_v1.ObjectMeta(name="my-db", namespace="default"),
        spec=v1.ServiceSpec(clusterIP="10.96.0.9", ports=[v1.ServicePort(name="sql", port=5432, protocol="TCP")]),
    )
    spec = v1.Container(name="c", env=[variable("A", "1"), variable("B", "$(A)-$(C)-$(MY_DB_SERVICE_HOST)"), variable("C", "3")])
    found = env.variables(pod(), spec, env.Sources(services=[service]))
    assert found["B"] == "1-$(C)-10.96.0.9"
    assert found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert found["MY_DB_PORT_5432_TCP"] == "tcp://10.96.0.9:5432"
    assert found["MY_DB_PORT"] == "tcp://10.96.0.9:5432"


def test_service_links_can_be_turned_off_except_for_the_api_server() -> None:
    def service(name: str, ip: str) -> v1.Service:
        spec = v1.ServiceSpec(clusterIP=ip, ports=[v1.ServicePort(port=443)])
        return v1.Service(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), spec=spec)

    services = [service("kubernetes", "10.96.0.1"), service("other", "10.96.0.2"), service("headless", "None")]
    found = env.service_variables(pod("elsewhere", enableServiceLinks=False), services)
    assert set(name.split("_")[0] for name in found) == {"KUBERNETES"}
    assert set(name.split("_")[0] for name in env.service_variables(pod(), services)) == {"KUBERNETES", "OTHER"}


def test_references_and_what_is_missing() -> None:
    config = v1.ConfigMap(data={"k": "v", "bad=key": "x"})
    secret = v1.Secret(data={"s": base64.b64encode(b"\xff\x00hid").decode()})
    spec = v1.Container(
        name="c",
        envFrom=[v1.EnvFromSource(prefix="P_", configMapRef=v1.ConfigMapEnvSource(name="conf"))],
        env=[
            v1.EnvVar(name="S", valueFrom=v1.EnvVarSource(secretKeyRef=v1.SecretKeySelector(name="sec", key="s"))),
            v1.EnvVar(name="O", valueFrom=v1.EnvVarSource(configMapKeyRef=v1.ConfigMapKeySelector(name="no", key="k", optional=True))),
            v1.EnvVar(name="N", valueFrom=v1.EnvVarSource(fieldRef=v1.ObjectFieldSelector(fieldPath="spec.nodeName"))),
            v1.EnvVar(name="IP", valueFrom=v1.EnvVarSource(fieldRef=v1.ObjectFieldSelector(fieldPath="status.podIP"))),
        ],
    )
    assert env.references(spec) == {("ConfigMap", "conf"), ("Secret", "sec"), ("ConfigMap", "no")}
    sources = env.Sources(config_maps={"conf": config, "no": None}, secrets={"sec": secret}, pod_ips=("10.1.0.2",))
    found = env.variables(pod(), spec, sources)
    assert found["P_k"] == "v"
    assert "P_bad=key" not in found
    assert found["S"].encode("utf-8", "surrogateescape") == b"\xff\x00hid"
    assert "O" not in found
    assert (found["N"], found["IP"]) == ("n1", "10.1.0.2")
    with pytest.raises(env.ConfigError, match=r'^configmap "conf" not found$'):
        env.variables(pod(), spec, env.Sources(secrets={"sec": secret}))
    with pytest.raises(env.ConfigError, match=r"^couldn't find key s in Secret default/sec$"):
        env.variables(pod(), spec, env.Sources(config_maps={"conf": config}, secrets={"sec": v1.Secret()}))


def test_downward_fields() -> None:
    assert downward.metadata_value(pod(), "metadata.labels['app']") == "x"
    assert downward.metadata_value(pod(), "metadata.labels") == 'a b="q\\"q"\napp="x"'
    with pytest.raises(downward.BadField, match=r"unsupported fieldPath: status.phase"):
        downward.metadata_value(pod(), "status.phase")


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1250"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", None, str(64 << 20)),
        ("limits.ephemeral-storage", "1Gi", "5"),
    ],
)
def test_downward_resources(resource: str, divisor: str | None, expected: str) -> None:
    held = v1.ResourceRequirements(requests={"cpu": "250m"}, limits={"cpu": "1250m", "memory": "64Mi"})
    owner = pod(containers=[v1.Container(name="c", resources=held)])
    ref = v1.ResourceFieldSelector(resource=resource, divisor=divisor)
    assert downward.resource_value(owner, ref, "c", {"ephemeral-storage": "5Gi", "cpu": "4"}) == expected
