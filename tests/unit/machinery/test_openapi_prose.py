"""What the OpenAPI documents say in words: that the files name only what exists, and that the documents carry them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from navarch.machinery import schema
from navarch.machinery.openapi import documents, prose, schemas
from navarch.machinery.openapi.schemas import V2, V3

TYPES = schema.builtin().types
GROUPS = [file.name.removesuffix(".yaml") for file in prose.files()]
POD, SPEC, CONTAINER = (f"io.k8s.api.core.v1.{short}" for short in ("Pod", "PodSpec", "Container"))


def fields_by_type(group: str) -> dict[str, set[str]]:
    """A group's types, with the fields they have in any version."""
    found: dict[str, set[str]] = {}
    for name, declared in TYPES.items():
        if prose.place(name)[0] == group:
            found.setdefault(prose.place(name)[1], set()).update(declared.get("fields", {}))
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_names_a_type_or_a_field(group: str) -> None:
    known = fields_by_type(group)
    told = prose.of_group(group)
    assert set(told) - set(known) == set()
    unknown = {(short, field) for short, texts in told.items() for field in texts if field not in {prose.ABOUT, *known[short]}}
    assert unknown == set()


@pytest.mark.parametrize("group", GROUPS)
def test_every_text_is_a_sentence(group: str) -> None:
    texts = [text for told in prose.of_group(group).values() for text in told.values()]
    assert [text for text in texts if not text.endswith(".") or text != text.strip() or "\n" in text] == []


def test_no_field_is_called_what_the_files_call_the_type_itself() -> None:
    assert [name for name, declared in TYPES.items() if prose.ABOUT in declared.get("fields", {})] == []


def test_both_documents_carry_the_texts() -> None:
    told = prose.of_group("core")
    for made in (documents.v2(versions=[("", "v1")])["definitions"], documents.v3("", "v1")["components"]["schemas"]):
        assert made[POD]["description"] == told["Pod"]["about"]
        assert made[POD]["properties"]["spec"]["description"] == told["Pod"]["spec"]
        assert made[CONTAINER]["properties"]["image"] == {"type": "string", "description": told["Container"]["image"]}
        assert made["io.k8s.apimachinery.pkg.api.resource.Quantity"]["description"] == prose.of_group("meta")["Quantity"]["about"]


def test_a_described_reference_stays_one() -> None:
    text = prose.of_group("core")["PodSpec"]["affinity"]
    affinity = "io.k8s.api.core.v1.Affinity"
    assert field(SPEC, "affinity", V2) == {"description": text, "$ref": V2.prefix + affinity}
    assert field(SPEC, "affinity", V3) == {"description": text, "allOf": [{"$ref": V3.prefix + affinity}]}


def field(name: str, of: str, dialect: schemas.Dialect) -> Any:
    return schemas.of_type(name, dialect)["properties"][of]


def test_objects_and_lists_share_what_they_have_in_common() -> None:
    assert field(POD, "metadata", V3)["description"] == prose.OBJECT["metadata"]
    assert schemas.of_type(POD + "List", V3)["description"] == "A list of Pod objects."
    assert field(POD + "List", "items", V2)["description"] == prose.LIST["items"]


def test_all_versions_of_a_group_say_the_same() -> None:
    lease = {version: schemas.of_type(f"io.k8s.api.coordination.{version}.LeaseCandidate", V3) for version in ("v1alpha2", "v1beta1")}
    assert "description" in lease["v1beta1"]
    assert lease["v1alpha2"]["description"] == lease["v1beta1"]["description"]


def test_no_file_is_read_before_a_document_is_asked_for() -> None:
    script = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from navarch.apiserver import endpoints\n"
        "from navarch.machinery.openapi import documents\n"
        "publisher = documents.Publisher('test')\n"
        "assert not [path for path in opened if 'descriptions' in path], opened\n"
        "publisher.v3('apis/coordination.k8s.io/v1')\n"
        "assert [path for path in opened if path.endswith('coordination.yaml')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_field_does_not_say_what_its_type_says() -> None:
    """kubectl prints one right below the other."""
    same = [
        (name, of)
        for name, declared in TYPES.items()
        for of, fact in declared.get("fields", {}).items()
        for referred in schemas.referred(fact["t"])
        if of in (told := prose.of_type(name, declared)) and told[of] == prose.of_type(referred, TYPES[referred]).get(prose.ABOUT)
    ]
    assert same == []
