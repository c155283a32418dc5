"""Flags that are accepted do what they say, or the component refuses to start and says why."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import datetime
import importlib
import pathlib
from types import SimpleNamespace
from typing import Any

import pytest

from navarch.apiserver import loop as apiserver
from navarch.apiserver import parts as composition
from navarch.apiserver.admission import podsecurity
from navarch.apiserver.admission import table as plugins
from navarch.apiserver.admission.attributes import Reinvocation
from navarch.apiserver.admission.chain import OPERATIONS, Chain, Plugin
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.authorizer import Authorizer, check_modes
from navarch.apiserver.authz.node import NodeAuthorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.authz.rbac import Rbac
from navarch.apiserver.http.outbound import Outbound
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.served import Catalog
from navarch.cli import components, flags
from navarch.controllers import table as controllers
from navarch.kubelet import loop as kubelet
from navarch.kubelet.server import Server as KubeletServer
from navarch.lib import pki
from navarch.store.memory import Memory

NOW = datetime.datetime.now(datetime.UTC)


def read_in(folder: pathlib.Path) -> set[str]:
    """The attributes of something called `options` that a package reads."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                held = node.value.id if isinstance(node.value, ast.Name) else node.value.attr if isinstance(node.value, ast.Attribute) else ""
                if held.strip("_") == "options":
                    found.add(node.attr)
    return found


@pytest.mark.parametrize("component", components.MODULES)
def test_every_flag_is_read(component: str) -> None:
    module = importlib.import_module(components.MODULES[component])
    folder = pathlib.Path(module.__file__ or "").parent
    unread = {f.name for f in dataclasses.fields(module.Options)} - read_in(folder)
    assert unread == set()


# ---- authorization modes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modes", "why"),
    [
        ((), "at least one authorization-mode must be passed"), (("RBAC", "Nope"), 'authorization-mode "Nope" is not a valid mode'),
        (("Node", "Node"), "has mode specified more than once"), (("ABAC",), 'authorization-mode "ABAC" is not supported by this server'),
        (("Node", "Webhook"), 'authorization-mode "Webhook" is not supported by this server'),
    ],
)  # fmt: skip
def test_modes_that_cannot_be(modes: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_modes(modes)


def test_modes_decide_in_their_order() -> None:
    catalog = Catalog()

    def decide(user: User, *modes: str) -> tuple[bool, str]:
        verdict = Authorizer(Rbac(catalog), NodeAuthorizer(catalog), modes).decide(user, Question("get", "", "nodes", "", "", "n1"))
        return verdict.allowed, verdict.reason

    jane, master, node = User("jane"), User("root", ("system:masters",)), User("system:node:n1", ("system:nodes",))
    assert decide(jane, "AlwaysAllow") == decide(jane, "RBAC", "AlwaysAllow") == decide(jane, "AlwaysDeny", "AlwaysAllow") == (True, "")
    assert decide(jane, "AlwaysDeny") == decide(node, "AlwaysDeny") == (False, "Everything is forbidden.")
    assert decide(jane, "Node", "RBAC") == (False, "")
    assert (decide(node, "Node", "RBAC"), decide(node, "RBAC")) == ((True, ""), (False, ""))
    assert decide(master, "AlwaysDeny")[0] and decide(master, "RBAC")[0]


# ---- admission plugins -----------------------------------------------------------------------------------------------------------

UPSTREAM = frozenset(
    {
        "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction",
        "ClusterTrustBundleAttest", "DefaultIngressClass", "DefaultStorageClass", "DefaultTolerationSeconds", "DenyServiceExternalIPs",
        "EventRateLimit", "ExtendedResourceToleration", "ImagePolicyWebhook", "JobValidation", "LimitPodHardAntiAffinityTopology",
        "LimitRanger", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "NamespaceAutoProvision", "NamespaceExists",
        "NamespaceLifecycle", "NodeDeclaredFeatureValidator", "NodeRestriction", "OwnerReferencesPermissionEnforcement",
        "PersistentVolumeClaimResize", "PodGroupProtection", "PodGroupWorkloadExists", "PodNodeSelector", "PodResizeValidator", "PodSecurity",
        "PodTolerationRestriction", "PodTopologyLabels", "Priority", "ResourceQuota", "RuntimeClass", "ServiceAccount",
        "StorageObjectInUseProtection", "TaintNodesByCondition", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def parts() -> Any:
    """What plugins are made with; they are not run here."""
    catalog = Catalog()
    authorizer = Authorizer(Rbac(catalog), NodeAuthorizer(catalog))
    storage = SimpleNamespace(listen=lambda receive: None)
    security = podsecurity.Configuration()
    return SimpleNamespace(catalog=catalog, storage=storage, authorizer=authorizer, pod_security=security, metrics=Metrics(catalog), calls=None)


def test_every_plugin_of_upstream_is_known(parts: Any) -> None:
    ours = {plugin.name for plugin in plugins.plugins(parts)}
    assert (ours - {""}) | plugins.MISSING == UPSTREAM
    assert not ours & plugins.MISSING


@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_a_plugin_can_be_switched_off_and_only_ours_on(name: str, parts: Any) -> None:
    whole, without = plugins.chain(parts), plugins.chain(parts, (), (name,))
    assert [n for n in whole.names if n != name] == list(without.names)
    assert len(whole.plugins) - len(without.plugins) == (name in whole.names)
    if name in plugins.MISSING:
        with pytest.raises(ValueError, match=f"this server does not have {name}; it has "):
            plugins.chain(parts, (name,))
    else:
        assert plugins.chain(parts, (name,)).names == whole.names


def test_a_plugin_runs_for_the_operations_it_handles_alone() -> None:
    ran: list[str] = []

    async def note(attributes: Any) -> None:
        ran.append(attributes.operation)

    made = Chain([Plugin("Both", ("CREATE", "DELETE"), note, note), Plugin("Late", ("UPDATE",), None, note)])
    for operation in OPERATIONS:
        written: Any = SimpleNamespace(operation=operation, reinvocation=Reinvocation())
        asyncio.run(made.mutate(written))
        asyncio.run(made.validate(written))
    assert ran == ["CREATE", "CREATE", "UPDATE", "DELETE", "DELETE"]


def test_plugins_that_cannot_be_meant(parts: Any) -> None:
    with pytest.raises(ValueError, match='enable-admission-plugins plugin "Nope" is unknown'):
        plugins.chain(parts, ("Nope",))
    with pytest.raises(ValueError, match='disable-admission-plugins plugin "Nope" is unknown'):
        plugins.chain(parts, (), ("Nope",))
    with pytest.raises(ValueError, match="overlapped"):
        plugins.chain(parts, ("PodSecurity",), ("PodSecurity",))


# ---- the servers' own ------------------------------------------------------------------------------------------------------------


def _made(tmp_path: pathlib.Path, **options: Any) -> Any:
    return composition.make(apiserver.with_certificates(apiserver.Options(str(tmp_path), **options)), Memory(), Outbound())


def test_an_api_server_does_not_start_on_flags_it_cannot_keep(tmp_path: pathlib.Path) -> None:
    _made(tmp_path)
    pki.authority("a", NOW).write(tmp_path / "a.crt", tmp_path / "a.key")
    pki.authority("b", NOW).write(tmp_path / "b.crt", tmp_path / "b.key")
    certificate, key, other = (str(tmp_path / n) for n in ("a.crt", "a.key", "b.key"))
    _made(tmp_path, proxy_client_cert_file=certificate, proxy_client_key_file=key)
    for options, why in (
        ({"proxy_client_cert_file": certificate}, "must be given together"),
        ({"proxy_client_cert_file": certificate, "proxy_client_key_file": other}, "--proxy-client-cert-file"),
        ({"proxy_client_cert_file": str(tmp_path / "gone"), "proxy_client_key_file": key}, "No such file"),
        ({"authorization_mode": ("Webhook",)}, "not supported"),
        ({"enable_admission_plugins": ("EventRateLimit",)}, "does not have EventRateLimit"),
        ({"admission_control_config_file": str(tmp_path / "gone.yaml")}, "No such file"),
        ({"service_account_key_file": (str(tmp_path / "gone.pem"),)}, "--service-account-key-file"),
        ({"service_account_max_token_expiration": 60.0}, "must be between 1 hour and"),
    ):
        with pytest.raises(ValueError, match=why):
            _made(tmp_path, **options)
    with pytest.raises(ValueError, match='"etcd3" is not supported'):
        apiserver._store(apiserver.Options(str(tmp_path), storage_backend="etcd3"))


def test_lists_are_given_at_once_or_one_by_one() -> None:
    words = ["--data-dir=x", "--service-account-key-file=a", "--service-account-key-file=b", "--authorization-mode=Node,RBAC", "--api-audiences=x,y"]
    found = flags.parse(apiserver.Options, words)[0]
    assert (found.service_account_key_file, found.authorization_mode, found.api_audiences) == (("a", "b"), ("Node", "RBAC"), ("x", "y"))


def test_controllers_by_either_name() -> None:
    every = set(controllers.CONTROLLERS)
    assert set(controllers.chosen(("*",))) == every
    assert set(controllers.chosen(("*", "-job-controller", "-selinux-warning"))) == every - {"job"}
    assert set(controllers.chosen(("deployment-controller", "endpointslice-mirroring-controller"))) == {"deployment", "endpointslicemirroring"}
    with pytest.raises(ValueError, match='"nope" is not in the list of known controllers'):
        controllers.chosen(("*", "-nope"))
    with pytest.raises(ValueError, match='does not have "selinux-warning-controller"'):
        controllers.chosen(("*", "selinux-warning-controller"))


def test_a_kubelet_knows_its_modes() -> None:
    options = kubelet.Options("x", authorization_mode="RBAC")
    stranger: Any = None
    with pytest.raises(ValueError, match='unknown authorization mode "RBAC"'):
        KubeletServer(options, "n", (), pathlib.Path("/"), stranger, stranger, {}, lambda: "")
