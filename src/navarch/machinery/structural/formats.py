"""Formats of strings: whether a value is a `date-time`, a `uuid`, an `ipv4` …

In: a format's name and a string. Names count without their dashes ("date-time" is "datetime"). Formats that Kubernetes does not know
are no formats: `KNOWN` lists those it does.

Upstream counterparts: apiextensions-apiserver's pkg/apiserver/validation/formats.go (which), kube-openapi's strfmt (what they mean),
whose leniency is kept: a credit card may have any characters between its digits, an IPv4 address leading zeros.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from email.utils import parseaddr

from navarch.machinery.remembering import remembering

_DURATION_PART = re.compile(r"(\d+)\s*([A-Za-zµ]+)", re.ASCII)
_GO_DURATION = re.compile(r"[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)\Z")
_UNITS = (
    ("ns", "nano"),
    ("us", "µs", "micro"),
    ("ms", "milli"),
    ("s", "sec"),
    ("m", "min"),
    ("h", "hr", "hour"),
    ("d", "day"),
    ("w", "wk", "week"),
)
_CARD = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
    r"|(?:2131|1800|35[0-9]{3})[0-9]{11})\Z"
)
_COLOUR_PART = r"\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*"
_BASE64_GROUP = r"[A-Za-z0-9+/]"
_ASCII_NAMED = frozenset(string.ascii_letters + string.digits)
_SHORT_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})\Z")


def _regex(form: str, flags: int = 0) -> Callable[[str], bool]:
    """For patterns of ours whose matching is linear."""
    compiled = re.compile(rf"(?:{form})\Z", flags | re.ASCII).match
    return lambda text: compiled(text) is not None


def _date(text: str) -> bool:
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", text) is None:
        return False
    if text[:4] == "0000":
        text = "2000" + text[4:]  # Go has a year 0, a leap year as 2000 is one
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _date_time(text: str) -> bool:
    day, *rest = text.lower().split("t")
    if len(text) < 4 or not rest or not _date(day):
        return False
    clock = _TIME.match(rest[0])
    return clock is not None and clock[1] <= "23" and clock[2] <= "59" and clock[3] <= "59"


def _duration(text: str) -> bool:
    """Go's durations, and words like "3 days"."""
    if _GO_DURATION.match(text):
        return True
    found = False
    for count, unit in _DURATION_PART.findall(text):
        if int(count[:20]) >= 2**63:
            return False
        word = unit.lower()
        found = found or any(word in variants or word.startswith(variants[-1]) for variants in _UNITS)
    return found


def _uri(text: str) -> bool:
    """What Go's url.ParseRequestURI takes: an absolute path, or a scheme and what follows."""
    if not text or any(c < " " or c == "\x7f" for c in text) or "%" in re.sub(r"%[0-9A-Fa-f]{2}", "", text.partition("?")[0]):
        return False
    if text == "*" or text.startswith("/"):
        return not text.startswith("//") or _authority(text[2:].partition("/")[0].partition("?")[0])
    scheme, colon, rest = text.partition(":")
    if not colon or re.match(r"[A-Za-z][A-Za-z0-9+.-]*\Z", scheme) is None:
        return False
    if rest.startswith("//"):
        return _authority(re.split(r"[/?]", rest[2:], maxsplit=1)[0])
    return True


def _authority(text: str) -> bool:
    user, at, host = text.rpartition("@")
    if at and re.match(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*\Z", user) is None:
        return False
    if host.startswith("["):
        inner, bracket, port = host[1:].partition("]")
        return bool(bracket) and _ip_version(inner.partition("%")[0]) == 6 and re.match(r"(:[0-9]*)?\Z", port) is not None
    name, _, port = host.partition(":")
    return re.match(r"[0-9]*\Z", port) is not None and not any(c in ' "<>\\^`{|}#' for c in name)


def _email(text: str) -> bool:
    """An address as mail has it, with or without a name before it."""
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or any(c in text for c in "\r\n\x00"):
        return False
    atoms = domain.split(".") if not domain.startswith("[") else ["x"]
    return all(atoms) and not re.search(r"[\s()<>,;:\\\"\[\]@]", domain.strip("[]"))


def _hostname(text: str) -> bool:
    """Letters of any script and symbols count. A name without dots may have one dash, behind its first character: upstream's rule."""
    labels = text.split(".")
    if len(text.encode()) > 255 or any(not label or len(label.encode()) > 63 for label in labels):
        return False
    if len(labels) == 1:
        return _named(text[0]) and all(map(_named, text[1:].removeprefix("-")))
    *names, top = labels
    return len(top) >= 2 and all(_is_letter(c) for c in top) and all(map(_host_label, names))


def _host_label(text: str) -> bool:
    return text[0] != "-" and text[-1] != "-" and all(c == "-" or _named(c) for c in text)


def _named(char: str) -> bool:
    return char in _ASCII_NAMED or (char > "\x7f" and unicodedata.category(char)[0] in "SL") or char in "$+<=>^`|~"


def _is_letter(char: str) -> bool:
    return (char.isascii() and char.isalpha()) or (char > "\x7f" and unicodedata.category(char)[0] == "L")


def _ip_version(text: str) -> int:
    """4 or 6, 0 for no address; zeros may lead the parts of an IPv4 one."""
    if ":" not in text:
        parts = text.split(".")
        good = len(parts) == 4 and all(re.match(r"[0-9]+\Z", p, re.ASCII) and int(p[-4:]) <= 255 and int(p[:18]) <= 255 for p in parts)
        return 4 if good else 0
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return 0
    return 0 if "%" in text else 6


def _ipv4(text: str) -> bool:
    """Upstream asks only for an address with a dot in it: `::ffff:1.2.3.4` passes."""
    return "." in text and _ip_version(text) != 0


def _cidr(text: str) -> bool:
    address, slash, length = text.partition("/")
    version = _ip_version(address)
    return bool(slash and version) and re.match(r"[0-9]{1,3}\Z", length, re.ASCII) is not None and int(length) <= (32 if version == 4 else 128)


def _mac(text: str) -> bool:
    for separator, width in ((":", 2), ("-", 2), (".", 4)):
        parts = text.split(separator)
        if len(parts) * width // 2 in (6, 8, 20) and all(re.match(rf"[0-9A-Fa-f]{{{width}}}\Z", p) for p in parts):
            return True
    return False


def _isbn(text: str, length: int) -> bool:
    digits = re.sub(r"[\s-]+", "", text, flags=re.ASCII)
    if length == 10:
        if re.match(r"(?:[0-9]{9}X|[0-9]{10})\Z", digits) is None:
            return False
        last = 10 if digits[9] == "X" else int(digits[9])
        return (sum((i + 1) * int(digits[i]) for i in range(9)) + 10 * last) % 11 == 0
    if re.match(r"[0-9]{13}\Z", digits) is None:
        return False
    total = sum((1, 3)[i % 2] * int(digits[i]) for i in range(12))
    return int(digits[12]) == (10 - total % 10) % 10


def _isbn10(text: str) -> bool:
    return _isbn(text, 10)


def _isbn13(text: str) -> bool:
    return _isbn(text, 13)


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if _CARD.match(digits) is None:
        return False
    doubled = (int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _uuid(version: str) -> Callable[[str], bool]:
    return _regex(f"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}-?[0-9a-f]{{12}}", re.IGNORECASE)


_is_ssn = _regex(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}")
_is_short_name = _regex(_SHORT_NAME)
_is_long_name = _regex(rf"{_SHORT_NAME}(\.{_SHORT_NAME})*")

KNOWN: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _regex("[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _ipv4,
    "ipv6": lambda text: ":" in text and _ip_version(text) == 6,
    "cidr": _cidr,
    "mac": _mac,
    "uuid": _uuid("[0-9a-f]{4}-?[0-9a-f]{4}"),
    "uuid3": _uuid("3[0-9a-f]{3}-?[0-9a-f]{4}"),
    "uuid4": _uuid("4[0-9a-f]{3}-?[89ab][0-9a-f]{3}"),
    "uuid5": _uuid("5[0-9a-f]{3}-?[89ab][0-9a-f]{3}"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": lambda text: len(text) == 11 and _is_ssn(text),
    "hexcolor": _regex("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _regex(rf"rgb\({_COLOUR_PART},{_COLOUR_PART},{_COLOUR_PART}\)"),
    "byte": _regex(rf"({_BASE64_GROUP}{{4}})*({_BASE64_GROUP}{{2}}==|{_BASE64_GROUP}{{3}}=|{_BASE64_GROUP}{{4}})"),
    "password": lambda text: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": lambda text: len(text) <= 63 and _is_short_name(text),
    "k8slongname": lambda text: len(text.encode()) <= 253 and _is_long_name(text),
}
"""Normalized name → whether a string is of the format."""
_CHECKS = {name: remembering(test) for name, test in KNOWN.items()}
NUMBERS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def of_string(name: str) -> Callable[[str], bool] | None:
    """The check of a format by the name a schema gives it; None for no known one."""
    return _CHECKS.get(name.replace("-", ""))


def supported(name: str, types: tuple[str, ...]) -> bool:
    """Whether a format means anything for values of these types. Others are ignored."""
    kind = types[0] if len(types) == 1 else ""
    return of_string(name) is not None if kind in ("", "string") else name in NUMBERS.get(kind, ())


def unrecognized(name: str, types: tuple[str, ...]) -> bool:
    """Whether a definition's author should be warned that a format is not known."""
    return bool(name) and not supported(name, types)
