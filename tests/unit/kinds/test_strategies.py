"""What every kind says of itself: rules on creation and update for all that are served, pure hooks, one entry in one table."""

from __future__ import annotations

import ast
import pathlib

import pytest

from navarch.apiserver import kinds
from navarch.apiserver.kinds import strategy as strategies
from navarch.apiserver.kinds import table
from navarch.apiserver.served import Catalog

FOLDER = pathlib.Path(kinds.__file__).parent
IMPURE = frozenset({"asyncio", "time", "random", "secrets", "socket", "threading", "logging", "aiohttp", "os", "uuid"})

METADATA_ALONE = frozenset({"namespaces", "serviceaccounts"})
"""Kinds that have no rules of their own upstream either."""

NO_RULES_ON_CREATE = frozenset(
    {
        "flowcontrol.apiserver.k8s.io/flowschemas",
        "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations", "resource.k8s.io/deviceclasses",
        "resource.k8s.io/resourceclaims", "resource.k8s.io/resourceclaimtemplates", "resource.k8s.io/resourceslices",
    }
)  # fmt: skip
"""Served kinds of which only metadata and types are checked when they are made. This set only ever becomes smaller."""

NO_RULES_ON_UPDATE = NO_RULES_ON_CREATE | {"certificates.k8s.io/certificatesigningrequests"}
"""The same for changes of them."""


def served_without(rule: str, default: object) -> set[str]:
    return {f"{s.group}/{s.plural}".lstrip("/") for s in Catalog() if getattr(s.strategy, rule) is default}


def test_every_served_kind_has_rules_on_create() -> None:
    assert served_without("validate", strategies.no_rules) == NO_RULES_ON_CREATE | METADATA_ALONE


def test_every_served_kind_has_rules_on_update() -> None:
    assert served_without("validate_update", strategies.no_update_rules) == NO_RULES_ON_UPDATE | METADATA_ALONE


def test_every_served_kind_is_in_a_table() -> None:
    assert not {(s.group, s.plural) for s in Catalog()} - table.KINDS.keys()


def tables() -> list[ast.Dict]:
    """The literal `KINDS` of each file that has one."""
    found = []
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "KINDS" and path.name != "table.py":
                assert isinstance(node.value, ast.Dict), f"{path.name}: KINDS is a literal"
                found.append(node.value)
    return found


def test_every_table_is_joined_and_no_kind_is_in_two() -> None:
    assert sum(len(literal.keys) for literal in tables()) == len(table.KINDS)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda p: str(p.relative_to(FOLDER)))
def test_kinds_are_pure(path: pathlib.Path) -> None:
    """The time is an argument, numbers are handed in, nothing waits."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global)
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] not in IMPURE
            assert not name.startswith("navarch.apiserver.") or name.startswith("navarch.apiserver.kinds"), "kinds know nothing of the server"


def test_versions_lead_to_a_version_that_is_stored_as_it_is() -> None:
    for strategy in table.KINDS.values():
        for stored in strategy.versions.values():
            group, version, plural = stored.home
            assert version not in table.KINDS[group, plural].versions


def test_versions_of_a_kind_share_what_is_stored() -> None:
    catalog = Catalog()
    for served in catalog:
        assert catalog.caches[served.cache.prefix] is served.cache, served.resource.group_version
    assert catalog.of("", "events").cache is catalog.of("events.k8s.io", "events").cache
    assert len({id(s.cache) for s in catalog if s.plural == "horizontalpodautoscalers"}) == 1
