"""Who may use an image that is on the node already: whoever could have pulled it. Pure.

A record of each image the kubelet pulled says with which credentials that worked. A pod whose pull secrets are none of these pulls again,
so that the registry decides. Upstream's counterpart is pkg/kubelet/images/pullmanager.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MOST_SECRETS = 100
"""Beyond this many, secrets that merely match are no longer added to a record."""


class Policy(StrEnum):
    """Which images' credentials are verified; upstream's imagePullCredentialsVerificationPolicy."""

    NEVER = "NeverVerify"
    PRELOADED = "NeverVerifyPreloadedImages"
    ALLOWLISTED = "NeverVerifyAllowlistedImages"
    ALWAYS = "AlwaysVerify"


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy and the images it excepts: whole names, or beginnings that end in `/*`. ValueError for a pattern that is neither."""

    policy: Policy = Policy.PRELOADED
    excepted: Sequence[str] = ()

    def __post_init__(self) -> None:
        for pattern in self.excepted:
            whole = pattern.removesuffix("/*")
            if not whole or "*" in whole or whole != whole.strip():
                raise ValueError(f"not a valid wildcard pattern, only patterns ending with '/*' are allowed: {pattern}")
            if untagged(whole) != whole:
                raise ValueError(f"neither tag nor digest is accepted in an image reference: {pattern}")

    def verifies(self, image: str, pulled_by_kubelet: bool) -> bool:
        """Whether a pod must show that it may use this image."""
        match self.policy:
            case Policy.NEVER:
                return False
            case Policy.PRELOADED:
                return pulled_by_kubelet
            case Policy.ALLOWLISTED:
                return not any(_matches(pattern, untagged(image)) for pattern in self.excepted)
            case Policy.ALWAYS:
                return True


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("/*") else name == pattern


def untagged(image: str) -> str:
    """The name without tag and digest, otherwise as the user wrote it."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


@dataclass(frozen=True, slots=True, order=True)
class Secret:
    """A pull secret that fits the image; `hash` is that of the login in it."""

    namespace: str
    name: str
    uid: str
    hash: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Who pulled an image under one name: everybody on the node may use it, or who has one of the secrets."""

    everybody: bool = False
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Pulled:
    """The record of one image (by its id): access by name without tag and digest."""

    image_ref: str
    access: Mapping[str, Access] = field(default_factory=dict)


def must_pull(record: Pulled | None, image: str, secrets: Iterable[Secret]) -> bool:
    """Whether a pod with these secrets has to pull an image of which this is the record, to show that it may use it."""
    held = record.access.get(untagged(image)) if record is not None else None
    if held is None:
        return True
    return not (held.everybody or any(_same(one, other) for one in secrets for other in held.secrets))


def worth_adding(record: Pulled, image: str, secrets: Iterable[Secret]) -> tuple[Secret, ...]:
    """Secrets of a pod that may use the image which the record does not have in this form yet: they count on their own from now on."""
    held = record.access.get(untagged(image), Access())
    if held.everybody or len(held.secrets) >= MOST_SECRETS:
        return ()
    known = {(secret, secret.hash) for secret in held.secrets}
    return tuple(one for one in secrets if (one, one.hash) not in known and any(_same(one, other) for other in held.secrets))


def _same(one: Secret, other: Secret) -> bool:
    return one == other or bool(one.hash and one.hash == other.hash)


def with_access(record: Pulled, image: str, gained: Access) -> Pulled:
    """The record after another successful pull, or after a secret was found to be as good as a known one."""
    name = untagged(image)
    held = record.access.get(name, Access())
    if gained.everybody or held.everybody:
        after = Access(everybody=True)
    else:
        others = [secret for secret in held.secrets if secret not in gained.secrets]
        after = Access(secrets=tuple(sorted([*others, *gained.secrets])))
    return dataclasses.replace(record, access={**record.access, name: after})
