"""A chart in the style of cert-manager, installed by a real Helm: webhooks whose authority is injected after they were installed.

Needs `helm` on the PATH (4 or later).
"""

from __future__ import annotations

import asyncio
import pathlib
import shutil
from typing import Any

import pytest
import yaml

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.testing import server
from navarch.testing.webhooks import Webhooks, add, allowed, denied, patched
from tests.component.apiserver.webhook_cluster import HANDLERS, NUMBERS, Cluster, meta

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm on the PATH")]
INJECT = "cert-manager.io/inject-ca-from"
KINDS: tuple[type[Any], ...] = (admission_v1.ValidatingWebhookConfiguration, admission_v1.MutatingWebhookConfiguration)

WEBHOOK = """
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}
metadata:
  name: {{{{ .Release.Name }}}}-webhook
  annotations:
    cert-manager.io/inject-ca-from: {{{{ .Release.Namespace }}}}/{{{{ .Release.Name }}}}-ca
webhooks:
  - name: webhook.cert-manager.example.com
    clientConfig:
      url: {{{{ .Values.url }}}}{path}
    rules:
      - apiGroups: [""]
        apiVersions: ["v1"]
        operations: ["CREATE", "UPDATE"]
        resources: ["configmaps"]
    matchConditions:
      - name: not-helm
        expression: "!('owner' in object.?metadata.labels.orValue({{}}))"
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{{{ .Release.Namespace }}}}
    sideEffects: None
    admissionReviewVersions: ["v1"]
    timeoutSeconds: {{{{ .Values.timeout }}}}
    failurePolicy: Fail
"""
HOOK = """
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}-{{ .Release.Revision }}-prepared
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
"""


def chart(folder: pathlib.Path, paths: dict[str, str]) -> pathlib.Path:
    """The chart's files. `paths`: where the webhook server answers which kind of configuration."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "issuer", "version": "1.0.0"}))
    (folder / "values.yaml").write_text(yaml.safe_dump({"url": "", "timeout": 5}))
    for kind, path in paths.items():
        (folder / "templates" / f"{kind.lower()}.yaml").write_text(WEBHOOK.format(kind=kind, path=path))
    (folder / "templates" / "hook.yaml").write_text(HOOK)
    return folder


async def inject(api: server.ApiServer, bundle: str) -> None:
    """What cert-manager's injector does: the authority goes into the configurations that ask for it, whenever it is not there."""
    client = api.connect("admin", user_agent="cainjector")
    while True:
        for kind in KINDS:
            for found in (await client.list(kind))[0]:
                if INJECT not in (meta(found).annotations or {}):
                    continue
                hooks: list[Any] = found.webhooks or []
                if any(hook.clientConfig.caBundle != bundle for hook in hooks):
                    for hook in hooks:
                        hook.clientConfig.caBundle = bundle
                    await client.update(found)
        await asyncio.sleep(0.05)


async def injected(api: server.ApiServer, bundle: str) -> None:
    async with asyncio.timeout(10):
        while True:
            every = [hook for kind in KINDS for found in (await api.client.list(kind))[0] for hook in found.webhooks or ()]
            if every and all(hook.clientConfig is not None and hook.clientConfig.caBundle == bundle for hook in every):
                return
            await asyncio.sleep(0.05)


async def helm(kubeconfig: pathlib.Path, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "helm", f"--kubeconfig={kubeconfig}", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, f"helm {' '.join(words)}: {out.decode()}"
    return out.decode()


async def test_a_chart_with_webhooks_is_installed_upgraded_and_taken_away(
    cluster: Cluster, api: server.ApiServer, hooks: Webhooks, tmp_path: pathlib.Path
) -> None:
    validate, mutate = f"/{next(NUMBERS)}", f"/{next(NUMBERS)}"
    HANDLERS[validate] = lambda r: denied("no issuer") if (r["object"].get("data") or {}).get("issuer") == "none" else allowed()
    HANDLERS[mutate] = lambda r: patched(add("/metadata/annotations", {"issued-by": "issuer"}))
    files = chart(tmp_path / "issuer", {"ValidatingWebhookConfiguration": validate, "MutatingWebhookConfiguration": mutate})
    config = api.write_kubeconfig(tmp_path / "config")
    async with tasks.Group() as group:
        group.start("injector", inject(api, hooks.bundle))
        await helm(config, "install", "one", str(files), f"--namespace={cluster.ns}", f"--set=url={hooks.url}")
        await injected(api, hooks.bundle)
        made = await cluster.create("certificate", issuer="one")
        assert meta(made).annotations == {"issued-by": "issuer"}
        with pytest.raises(errors.ApiError, match="no issuer"):
            await cluster.create("bad", issuer="none")
        await helm(config, "upgrade", "one", str(files), f"--namespace={cluster.ns}", f"--set=url={hooks.url}", "--set=timeout=7")
        await injected(api, hooks.bundle)
        found = await api.client.get(admission_v1.ValidatingWebhookConfiguration, "one-webhook")
        assert found.webhooks is not None and found.webhooks[0].timeoutSeconds == 7
        with pytest.raises(errors.ApiError, match="no issuer"):
            await cluster.create("bad", issuer="none")
        secrets = {meta(s).name for s in (await api.client.list(core_v1.Secret, cluster.ns))[0]}
        assert {"one-1-prepared", "one-2-prepared"} <= secrets
        await helm(config, "uninstall", "one", f"--namespace={cluster.ns}")
        assert (await cluster.create("bad", issuer="none")).data == {"issuer": "none"}
        group.cancel()
