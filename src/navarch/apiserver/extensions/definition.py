"""What the server reads of a CustomResourceDefinition: everything but its schemas, which stay the JSON they are until they are needed.

A thousand definitions must cost little: their schemas are most of them, and of most resources nobody asks anything.

In: a definition as it is stored. Out: a frozen `Definition`.
"""

from __future__ import annotations

from typing import Any

import msgspec

_FROZEN: dict[str, Any] = {"frozen": True, "gc": False}
ESTABLISHED, NAMES_ACCEPTED, TERMINATING = "Established", "NamesAccepted", "Terminating"
NON_STRUCTURAL, CONFORMANT = "NonStructuralSchema", "KubernetesAPIApprovalPolicyConformant"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer of a definition whose objects must go first."""


class Names(msgspec.Struct, **_FROZEN, omit_defaults=True):
    """The names a resource goes by."""

    plural: str = ""
    singular: str = ""
    kind: str = ""
    listKind: str = ""
    shortNames: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


class Scale(msgspec.Struct, **_FROZEN):
    specReplicasPath: str = ""
    statusReplicasPath: str = ""
    labelSelectorPath: str | None = None


class Subresources(msgspec.Struct, **_FROZEN):
    status: dict[str, Any] | None = None
    scale: Scale | None = None


class PrinterColumn(msgspec.Struct, **_FROZEN):
    name: str = ""
    type: str = ""
    format: str = ""
    description: str = ""
    priority: int = 0
    jsonPath: str = ""


class SelectableField(msgspec.Struct, **_FROZEN):
    jsonPath: str = ""


_ABSENT = msgspec.Raw(b"")


class Validation(msgspec.Struct, frozen=True):
    openAPIV3Schema: msgspec.Raw = _ABSENT


class Version(msgspec.Struct, frozen=True):
    """One version of the resource."""

    name: str = ""
    served: bool = False
    storage: bool = False
    schema: Validation | None = None
    subresources: Subresources | None = None
    additionalPrinterColumns: tuple[PrinterColumn, ...] = ()
    selectableFields: tuple[SelectableField, ...] = ()
    deprecated: bool = False
    deprecationWarning: str | None = None

    @property
    def has_status(self) -> bool:
        return self.subresources is not None and self.subresources.status is not None

    @property
    def scale(self) -> Scale | None:
        return self.subresources.scale if self.subresources is not None else None

    @property
    def document(self) -> msgspec.Raw | None:
        """Its `openAPIV3Schema`: a part of the definition's bytes; None for none."""
        return None if self.schema is None or self.schema.openAPIV3Schema is _ABSENT else self.schema.openAPIV3Schema


class Service(msgspec.Struct, **_FROZEN):
    name: str = ""
    namespace: str = ""
    path: str | None = None
    port: int = 443


class ClientConfig(msgspec.Struct, **_FROZEN):
    url: str | None = None
    service: Service | None = None
    caBundle: str | None = None


class Webhook(msgspec.Struct, **_FROZEN):
    clientConfig: ClientConfig | None = None
    conversionReviewVersions: tuple[str, ...] = ()


class Conversion(msgspec.Struct, **_FROZEN):
    strategy: str = "None"
    webhook: Webhook | None = None


class Spec(msgspec.Struct, frozen=True):
    group: str = ""
    names: Names = Names()
    scope: str = ""
    versions: tuple[Version, ...] = ()
    conversion: Conversion | None = None
    preserveUnknownFields: bool = False


class Condition(msgspec.Struct, **_FROZEN, omit_defaults=True):
    type: str = ""
    status: str = ""
    lastTransitionTime: str | None = None
    reason: str = ""
    message: str = ""
    observedGeneration: int | None = None


class Status(msgspec.Struct, **_FROZEN):
    acceptedNames: Names = Names()
    conditions: tuple[Condition, ...] = ()
    storedVersions: tuple[str, ...] = ()


class Metadata(msgspec.Struct, **_FROZEN):
    name: str = ""
    uid: str = ""
    generation: int = 0
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    deletionTimestamp: str | None = None


class Definition(msgspec.Struct, frozen=True):
    """A definition, as far as serving goes."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def group(self) -> str:
        return self.spec.group

    @property
    def namespaced(self) -> bool:
        return self.spec.scope == "Namespaced"

    @property
    def storage_version(self) -> Version:
        """The version that objects are stored in. Validation sees to it that there is one."""
        return next(version for version in self.spec.versions if version.storage)

    def version(self, name: str) -> Version | None:
        return next((version for version in self.spec.versions if version.name == name), None)

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.status.conditions if condition.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether a condition is True."""
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"


_decoder = msgspec.json.Decoder(Definition)


def read(body: bytes) -> Definition:
    """The definition in a stored object's JSON."""
    return _decoder.decode(body)
