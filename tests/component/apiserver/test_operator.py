"""A real operator (kopf) runs against custom resources: finalizers, annotations, status, deletion."""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
from typing import Any

import pytest

from navarch.testing import server, waiting
from tests.component.apiserver.definitions import define, definition, version

pytestmark = pytest.mark.asyncio(loop_scope="module")
GROUP = "operated.example.com"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


async def test_an_operator_sees_creation_change_and_deletion(http: Any, ns: str, api: server.ApiServer, tmp_path: pathlib.Path) -> None:
    await define(http, definition(GROUP, version(schema=SCHEMA, subresources={"status": {}})))
    config = api.write_kubeconfig(tmp_path / "config")
    script = pathlib.Path(__file__).parent / "operator_for_test.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kopf", "run", str(script), "--standalone", f"--namespace={ns}",
        env={**os.environ, "KUBECONFIG": str(config)}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        path = f"/apis/{GROUP}/v1/namespaces/{ns}/widgets"
        sent = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"color": "red"}}
        assert (await http("POST", path, sent)).status == 201

        async def says(color: str) -> bool:
            held = (await http("GET", f"{path}/a")).json
            return held.get("status", {}).get("color") == color and "kopf.zalando.org/KopfFinalizerMarker" in held["metadata"]["finalizers"]

        await waiting.until(lambda: says("red"), 30, "the operator to see the object")
        await http("PATCH", f"{path}/a", {"spec": {"color": "blue"}}, media="application/merge-patch+json")
        await waiting.until(lambda: says("blue"), 30, "the operator to see the change")
        assert (await http("DELETE", f"{path}/a")).status == 200

        async def gone() -> bool:
            return bool((await http("GET", f"{path}/a")).status == 404)

        await waiting.until(gone, 30, "the operator to let the object go")
    finally:
        process.terminate()
        printed = (await process.communicate())[0].decode()
    assert "Traceback" not in printed, printed
