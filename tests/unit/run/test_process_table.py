"""The table of processes fits the components it names."""

from __future__ import annotations

import pathlib

import pytest

from navarch.run import addons, components, supervisor
from navarch.run.settings import Settings

SETTINGS = Settings(pathlib.Path("/data"), pathlib.Path("/run/x"), "n1", "192.0.2.7")
PARTS = [part for process in components.PROCESSES for part in process.parts]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.module)
def test_flags_are_the_components_own(part: components.Part) -> None:
    assert supervisor.options_of(part, SETTINGS) is not None


def test_order() -> None:
    names = [process.name for process in components.PROCESSES]
    for process in components.PROCESSES:
        assert set(process.after) <= set(names[: names.index(process.name)])


@pytest.mark.parametrize("name", ["dns", "sample"])
def test_manifests(name: str) -> None:
    found = addons.documents(name, addons.values(SETTINGS))
    assert all("$" not in str(document) for document in found)
    kinds = [document["kind"] for document in found]
    assert kinds == (["ClusterRole", "ClusterRoleBinding", "Service", "EndpointSlice"] if name == "dns" else ["Deployment", "Service"])
