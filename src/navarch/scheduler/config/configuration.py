"""Upstream's KubeSchedulerConfiguration, read into profiles, extenders and the scheduler's own settings.

In: the YAML of `--config` (kubescheduler.config.k8s.io/v1). Out: a `Configuration`. It is read strictly: an unknown field, a plugin
that does not exist, a value out of range are refused with their field path, in upstream's words. What is accepted and makes no
difference here is told once (`notes`).

Upstream counterparts: pkg/scheduler/apis/config (v1 defaults, validation), cmd/kube-scheduler/app/options/configfile.go.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.machinery import codec, durations
from navarch.machinery import field as fields
from navarch.scheduler.config import decoding, profiles, types
from navarch.scheduler.config import extenders as extender_settings
from navarch.scheduler.config.decoding import Unacceptable
from navarch.scheduler.config.extenders import ExtenderSettings
from navarch.scheduler.config.types import KIND, VERSION
from navarch.scheduler.core.profile import Profile

__all__ = ["KIND", "VERSION", "Configuration", "Leadership", "Unacceptable", "default", "load", "read"]


@dataclass(frozen=True, slots=True)
class Leadership:
    """The lease that the leader holds; times in seconds."""

    elect: bool = True
    namespace: str = "kube-system"
    name: str = "kube-scheduler"
    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a configuration file says."""

    profiles: Mapping[str, Profile]
    """By scheduler name."""
    extenders: tuple[ExtenderSettings, ...] = ()
    """In the order in which they are asked."""
    first_backoff: float = 1.0
    most_backoff: float = 10.0
    leadership: Leadership = Leadership()
    kubeconfig: str = ""
    notes: tuple[str, ...] = field(default=())
    """What was accepted and makes no difference."""


def default(name: str = profiles.DEFAULT_NAME) -> Configuration:
    """What holds without a file."""
    return Configuration({name: Profile(name)})


def load(path: str) -> Configuration:
    """The configuration in a file. Raises Unacceptable."""
    try:
        text = pathlib.Path(path).read_text()
        found = codec.from_yaml(text)
    except (OSError, codec.DecodeError) as error:
        raise Unacceptable(f"{path}: {error}") from None
    if repeated := codec.yaml_duplicates(text.encode()):
        raise Unacceptable(f"strict decoding error: {', '.join(repeated)}")
    return read(found)


def read(config: Any) -> Configuration:
    """The configuration in a document. Raises Unacceptable."""
    if not isinstance(config, dict) or (config.get("apiVersion"), config.get("kind")) != (VERSION, KIND):
        raise Unacceptable(f"not a {KIND} of {VERSION}")
    given = decoding.decoded(types.KubeSchedulerConfiguration, config)
    listed = given.profiles or [types.Profile()]
    args = [profiles.arguments(profile, f".profiles[{i}]") for i, profile in enumerate(listed)]
    _refuse([*_settings(given), *profiles.problems(listed, args), *extender_settings.problems(given.extenders or [])])
    try:
        extenders = extender_settings.read(given.extenders or [])
    except ValueError as error:
        raise Unacceptable(f"couldn't build extenders: {error}") from None
    ignored = frozenset(name for extender in extenders for name in extender.ignored)
    made = [profiles.make(profile, known, ignored) for profile, known in zip(listed, args, strict=True)]
    return Configuration(
        profiles={p.name: p for p in made},
        extenders=extenders,
        first_backoff=float(_value(given.podInitialBackoffSeconds, 1)),
        most_backoff=float(_value(given.podMaxBackoffSeconds, 10)),
        leadership=_leadership(given.leaderElection or types.LeaderElection()),
        kubeconfig=(given.clientConnection.kubeconfig if given.clientConnection else None) or "",
        notes=tuple(_notes(given)),
    )


def _refuse(problems: Sequence[fields.Problem]) -> None:
    unique = list(dict.fromkeys(map(str, problems)))
    if unique:
        raise Unacceptable(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")


def _value(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


# ---- settings -----------------------------------------------------------------------------------------------------


def _settings(given: types.KubeSchedulerConfiguration) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    burst = given.clientConnection.burst if given.clientConnection is not None else None
    if burst is not None and burst < 0:
        found.append(fields.invalid("clientConnection.burst", burst, "must be non-negative"))
    found += _leadership_problems(given.leaderElection or types.LeaderElection())
    if given.parallelism is not None and given.parallelism <= 0:
        found.append(fields.invalid("parallelism", given.parallelism, "should be an integer value greater than zero"))
    found += decoding.percentage("percentageOfNodesToScore", given.percentageOfNodesToScore)
    first, most = _value(given.podInitialBackoffSeconds, 1), _value(given.podMaxBackoffSeconds, 10)
    if first <= 0:
        found.append(fields.invalid("podInitialBackoffSeconds", first, "must be greater than 0"))
    if most < first:
        found.append(fields.invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds"))
    return found


_TIMES = (("leaseDuration", 15.0), ("renewDeadline", 10.0), ("retryPeriod", 2.0))


def _times(given: types.LeaderElection) -> dict[str, float]:
    """The lease's times, in seconds; 0 is the default, as upstream has it."""
    found = {}
    for name, otherwise in _TIMES:
        text = getattr(given, name)
        try:
            found[name] = (durations.seconds(text) if text is not None else 0.0) or otherwise
        except ValueError as error:
            raise Unacceptable(f"leaderElection.{name}: {error}") from None
    return found


def _leadership_problems(given: types.LeaderElection) -> list[fields.Problem]:
    if given.leaderElect is False:
        return []
    found: list[fields.Problem] = []
    times = _times(given)
    for name, seconds in times.items():
        if seconds <= 0:
            found.append(fields.invalid(f"leaderElection.{name}", getattr(given, name), "must be greater than zero"))
    if times["leaseDuration"] <= times["renewDeadline"]:
        shown = given.renewDeadline or "10s"
        found.append(fields.invalid("leaderElection.leaseDuration", shown, "must be greater than `RenewDeadline`"))
    if given.resourceLock and given.resourceLock != "leases":
        found.append(fields.invalid("leaderElection.resourceLock", given.resourceLock, 'resourceLock value must be "leases"'))
    return found


def _leadership(given: types.LeaderElection) -> Leadership:
    times = _times(given)
    return Leadership(
        given.leaderElect is not False,
        given.resourceNamespace or "kube-system",
        given.resourceName or "kube-scheduler",
        times["leaseDuration"],
        times["renewDeadline"],
        times["retryPeriod"],
    )


def _notes(given: types.KubeSchedulerConfiguration) -> list[str]:
    found = []
    if given.percentageOfNodesToScore or any(p.percentageOfNodesToScore for p in given.profiles or ()):
        found.append("percentageOfNodesToScore: all nodes are looked at")
    if given.parallelism is not None:
        found.append("parallelism: all nodes are looked at at once, on one thread")
    connection = given.clientConnection or types.ClientConnection()
    if connection.qps or connection.burst:
        found.append("clientConnection: requests are bounded by how many are under way, not by qps and burst")
    if given.delayCacheUntilActive is False:
        found.append("delayCacheUntilActive: caches are always filled once the lease is held")
    return found
