"""The file of `--admission-control-config-file`: an AdmissionConfiguration, whose plugins have their settings in it or in other files.

PodSecurity is the only one of ours that has settings. What is not understood keeps the server from starting.

Upstream counterparts: apiserver's admission/config.go and pod-security-admission's admission/api/{load,validation}.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from navarch.apiserver.admission import podsecurity
from navarch.machinery import names

_GROUP = "pod-security.admission.config.k8s.io"
_FLAG = "--admission-control-config-file"
Tree = Mapping[str, Any]


def read(file: str) -> podsecurity.Configuration:
    """What the file says of PodSecurity; the defaults without a file. ValueError names the file and what is wrong in it."""
    if not file:
        return podsecurity.Configuration()
    path = pathlib.Path(file)
    try:
        return _admission(path, _load(path))
    except OSError as error:
        raise ValueError(f"{_FLAG} {error.filename or file}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"{_FLAG} {file}: {error}") from None


def _load(path: pathlib.Path) -> Tree:
    found = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no object")
    return found


def _admission(path: pathlib.Path, tree: Tree) -> podsecurity.Configuration:
    if tree.get("kind") != "AdmissionConfiguration" or str(tree.get("apiVersion")).partition("/")[0] != "apiserver.config.k8s.io":
        raise ValueError("it must be an AdmissionConfiguration of apiserver.config.k8s.io/v1")
    found = podsecurity.Configuration()
    for plugin in tree.get("plugins") or ():
        name = plugin.get("name")
        if name != "PodSecurity":
            raise ValueError(f'plugin "{name}" has no settings in this server: only PodSecurity has')
        held = plugin.get("configuration") or (_load(path.parent / plugin["path"]) if plugin.get("path") else None)
        if held is not None:
            found = pod_security(held)
    return found


def pod_security(tree: Tree) -> podsecurity.Configuration:
    """A PodSecurityConfiguration. ValueError, with upstream's words, when it is none."""
    if tree.get("kind") != "PodSecurityConfiguration" or str(tree.get("apiVersion")).partition("/")[0] != _GROUP:
        raise ValueError(f"PodSecurity's configuration must be a PodSecurityConfiguration of {_GROUP}/v1")
    _only(tree, "", ("apiVersion", "kind", "defaults", "exemptions"))
    defaults, exemptions = tree.get("defaults") or {}, tree.get("exemptions") or {}
    modes = ("enforce", "audit", "warn")
    _only(defaults, "defaults.", (*modes, *(f"{m}-version" for m in modes)))
    _only(exemptions, "exemptions.", ("usernames", "namespaces", "runtimeClasses"))
    levels = {mode: _level(defaults, mode) for mode in modes}
    return podsecurity.Configuration(
        podsecurity.Policy(**levels),
        _names(exemptions, "usernames"),
        _names(exemptions, "runtimeClasses"),
        _names(exemptions, "namespaces"),
    )


def _only(tree: Tree, at: str, known: tuple[str, ...]) -> None:
    for key in tree:
        if key not in known:
            raise ValueError(f'unknown field "{at}{key}"')


def _level(defaults: Tree, mode: str) -> podsecurity.Level:
    text, version = str(defaults.get(mode) or "privileged"), str(defaults.get(f"{mode}-version") or "latest")
    name = podsecurity.parse_level(text)
    if name is None:
        raise ValueError(f'defaults.{mode}: Invalid value: "{text}": must be one of privileged, baseline, restricted')
    minor, good = podsecurity.parse_version(version)
    if not good:
        raise ValueError(f'defaults.{mode}-version: Invalid value: "{version}": must be "latest" or "v1.x"')
    return podsecurity.Level(name, minor)


_CHECKS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    "namespaces": names.dns_label,
    "runtimeClasses": names.dns_subdomain,
    "usernames": lambda name: () if name else ("username must not be empty",),
}


def _names(exemptions: Tree, kind: str) -> frozenset[str]:
    found: set[str] = set()
    for i, name in enumerate(exemptions.get(kind) or ()):
        at = f"exemptions.{kind}[{i}]"
        wrong = _CHECKS[kind](name)
        if wrong:
            raise ValueError(f'{at}: Invalid value: "{name}": {", ".join(wrong)}')
        if name in found:
            raise ValueError(f'{at}: Duplicate value: "{name}"')
        found.add(name)
    return frozenset(found)
