"""The forms names may have. Each check returns the problems it finds, empty when there are none.

Upstream counterparts: k8s.io/apimachinery/pkg/util/validation and /api/validate/content; the words are theirs.
"""

from __future__ import annotations

import ipaddress
import re

from navarch.lib import texts

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_is_label = re.compile(rf"{_LABEL}\Z").match
_is_label_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z").match
_is_subdomain = re.compile(rf"{_SUBDOMAIN}\Z").match
_is_qualified = re.compile(rf"{_QUALIFIED}\Z").match
_is_env = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z").match
_is_relaxed_env = re.compile(r"[ -<>-~]+\Z").match
_is_config_key = re.compile(r"[-._a-zA-Z0-9]+\Z").match
_is_c_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z").match


def _longer(most: int, unit: str = "characters") -> str:
    """Upstream counts label keys and values in bytes, all else in characters."""
    return f"must be no more than {most} {unit}"


def regex_message(message: str, form: str, *examples: str) -> str:
    """Upstream's way of naming a pattern and examples of it."""
    if not examples:
        return f"{message} (regex used for validation is '{form}')"
    shown = " or ".join(f"'{e}', " for e in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{form}')"


LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
)
SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character"
)
LABEL_1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character"
)
CONFIG_KEY_MESSAGE = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
QUALIFIED_MESSAGE = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)


@texts.remembered(8192)
def dns_label(value: str) -> tuple[str, ...]:
    """RFC 1123 label: namespaces, containers."""
    found: tuple[str, ...] = ()
    if len(value) > 63:
        found += (_longer(63),)
    if not _is_label(value):
        if _is_subdomain(value):
            return (*found, "must not contain dots")
        found += (regex_message(LABEL_MESSAGE, _LABEL, "my-name", "123-abc"),)
    return found


@texts.remembered(4096)
def dns_label_1035(value: str) -> tuple[str, ...]:
    """RFC 1035 label: Services."""
    found: tuple[str, ...] = ()
    if len(value) > 63:
        found += (_longer(63),)
    if not _is_label_1035(value):
        found += (regex_message(LABEL_1035_MESSAGE, "[a-z]([-a-z0-9]*[a-z0-9])?", "my-name", "abc-123"),)
    return found


def dns_subdomain(value: str) -> tuple[str, ...]:
    """RFC 1123 subdomain: most object names."""
    found: tuple[str, ...] = ()
    if len(value) > 253:
        found += (_longer(253),)
    if not _is_subdomain(value):
        found += (regex_message(SUBDOMAIN_MESSAGE, _SUBDOMAIN, "example.com"),)
    return found


def path_segment(value: str) -> tuple[str, ...]:
    """A name that may be anything a URL path segment can hold (RBAC)."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    return tuple(f"may not contain '{c}'" for c in ("/", "%") if c in value)


@texts.remembered(8192)
def qualified_name(value: str) -> tuple[str, ...]:
    """A label or annotation key: an optional prefix, a slash, a name."""
    prefix, slash, name = value.rpartition("/")
    if value.count("/") > 1:
        message = regex_message("a qualified name " + QUALIFIED_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc")
        return (message + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    found: tuple[str, ...] = ()
    if slash:
        if not prefix:
            found += ("prefix part must be non-empty",)
        else:
            found += tuple(f"prefix part {p}".replace(_longer(253), _longer(253, "bytes")) for p in dns_subdomain(prefix))
    if not name:
        found += ("name part must be non-empty",)
    elif len(name) > 63:
        found += ("name part " + _longer(63, "bytes"),)
    if not _is_qualified(name):
        found += ("name part " + regex_message(QUALIFIED_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc"),)
    return found


@texts.remembered(8192)
def label_value(value: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    if len(value) > 63:
        found += (_longer(63, "bytes"),)
    if value and not _is_qualified(value):
        form = f"({_QUALIFIED})?"
        found += (regex_message(LABEL_VALUE_MESSAGE, form, "MyValue", "my_value", "12345"),)
    return found


def env_var_name(value: str) -> tuple[str, ...]:
    """Any printable ASCII but '=' (KEP-4369)."""
    if _is_relaxed_env(value):
        return ()
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


def config_map_key(value: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    if len(value) > 253:
        found += (_longer(253),)
    if not _is_config_key(value):
        found += (regex_message(CONFIG_KEY_MESSAGE, r"[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name"),)
    elif value == ".":
        found += ("must not be '.'",)
    elif value == "..":
        found += ("must not be '..'",)
    elif value.startswith(".."):
        found += ("must not start with '..'",)
    return found


def port_name(value: str) -> tuple[str, ...]:
    """IANA service name."""
    found: tuple[str, ...] = ()
    if len(value) > 15:
        found += ("must be no more than 15 characters",)
    if not re.fullmatch(r"[-a-z0-9]+", value):
        found += ("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",)
    if not re.search(r"[a-z]", value):
        found += ("must contain at least one letter (a-z)",)
    if "--" in value:
        found += ("must not contain consecutive hyphens",)
    if value and (value[0] == "-" or value[-1] == "-"):
        found += ("must not begin or end with a hyphen",)
    return found


def port_number(value: int) -> tuple[str, ...]:
    return () if 1 <= value <= 65535 else ("must be between 1 and 65535, inclusive",)


def is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names: no vowels and none that look alike (upstream's util/rand)."""


def generate(prefix: str, seed: int) -> str:
    """A name from `generateName`: the prefix, cut to leave room, and five letters of a random number (64 bits)."""
    letters = ""
    for _ in range(5):
        seed, letter = divmod(seed, len(ALPHABET))
        letters += ALPHABET[letter]
    return prefix[: 63 - 5] + letters
