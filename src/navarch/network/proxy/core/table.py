"""The whole table as data, kept fragment by fragment, and the transactions that bring the kernel from one state to the next.

`Table.replace` and `Table.remove` note what they touch; `Table.take` turns the notes into one nft transaction that costs what
changed and nothing more. Items may be wanted by several services (two services over the same pods share hairpin elements, all
share pick chains): the first to want an item owns it, the next inherits it.

Chains that fell out of use are emptied at once and deleted in a later transaction: before kernel 6.2 a chain counts as
referenced for a moment after the last element that led to it is gone, and a failing delete would undo everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from navarch.network.proxy.core import base
from navarch.network.proxy.core.compiling import Fragment, HealthCheck, UdpService
from navarch.network.proxy.core.facts import Facts

CHAIN, SET = "chain", "set"
Thing = tuple[str, str, str]
"""(kind, container or "", key or name): kind is "element", CHAIN or SET."""
ELEMENT = "element"
BATCH = 500
"""Elements per command: the parser is fastest with many, and a line stays readable."""


@dataclass(slots=True)
class Table:
    facts: Facts
    _fragments: dict[str, Fragment] = field(default_factory=dict)
    _wanted: dict[Thing, object] = field(default_factory=dict)
    _owners: dict[Thing, str] = field(default_factory=dict)
    _waiting: dict[Thing, dict[str, object]] = field(default_factory=dict)
    _before: dict[Thing, object] = field(default_factory=dict)
    _stale: set[str] = field(default_factory=set)
    _udp_changed: bool = False

    def replace(self, owner: str, fragment: Fragment) -> None:
        """Sets what a service wants."""
        before = self._fragments.get(owner)
        old = dict(_things(before)) if before is not None else {}
        self._udp_changed |= fragment.udp != (before.udp if before is not None else ())
        new = dict(_things(fragment))
        for thing in old:
            if thing not in new:
                self._drop(owner, thing)
        for thing, value in new.items():
            if thing not in old or old[thing] != value:
                self._want(owner, thing, value)
        self._fragments[owner] = fragment

    def remove(self, owner: str) -> None:
        fragment = self._fragments.pop(owner, None)
        for thing, _ in _things(fragment) if fragment else ():
            self._drop(owner, thing)

    def _note(self, thing: Thing) -> None:
        self._before.setdefault(thing, self._wanted.get(thing))

    def _want(self, owner: str, thing: Thing, value: object) -> None:
        holder = self._owners.setdefault(thing, owner)
        if holder != owner:
            self._waiting.setdefault(thing, {})[owner] = value
            return
        self._note(thing)
        self._wanted[thing] = value

    def _drop(self, owner: str, thing: Thing) -> None:
        waiting = self._waiting.get(thing, {})
        if self._owners[thing] != owner:
            waiting.pop(owner)
        elif waiting:
            heir = next(iter(waiting))
            self._note(thing)
            self._owners[thing], self._wanted[thing] = heir, waiting.pop(heir)
        else:
            self._note(thing)
            del self._owners[thing], self._wanted[thing]
        if not waiting:
            self._waiting.pop(thing, None)

    @property
    def changed(self) -> bool:
        return bool(self._before)

    @property
    def stale(self) -> bool:
        """Whether emptied chains wait for `sweep`."""
        return bool(self._stale)

    def health_checks(self) -> dict[str, HealthCheck]:
        return {owner: f.health for owner, f in self._fragments.items() if f.health is not None}

    def take_udp_services(self) -> list[UdpService]:
        """All UDP services if any of them changed since the last call, else none."""
        if not self._udp_changed:
            return []
        self._udp_changed = False
        return [udp for fragment in self._fragments.values() for udp in fragment.udp]

    def without_local(self) -> tuple[int, int]:
        """Service ports with no local endpoint under policy Local: internal, external."""
        pairs = [f.without_local for f in self._fragments.values()]
        return sum(p[0] for p in pairs), sum(p[1] for p in pairs)

    def whole(self) -> str:
        """The transaction that makes the table from nothing, whatever the kernel holds. Forgets pending notes."""
        self._before.clear()
        self._stale.clear()
        prelude = _base(self.facts)
        return prelude + "".join(f"{line}\n" for line in self._commands([(t, None, v) for t, v in self._wanted.items()]))

    def take(self) -> str:
        """The transaction for everything noted since the last one; empty when nothing differs."""
        changes = [(t, old, self._wanted.get(t)) for t, old in self._before.items()]
        self._before.clear()
        return "".join(f"{line}\n" for line in self._commands([c for c in changes if c[1] != c[2]]))

    def sweep(self) -> str:
        """The transaction that deletes chains emptied earlier."""
        names, self._stale = sorted(self._stale), set()
        return "".join(f"delete chain {_table(self.facts)} {name}\n" for name in names)

    def _commands(self, changes: list[tuple[Thing, object, object]]) -> Iterator[str]:
        """Chains before what leads to them, elements, then what nobody needs any more."""
        table = _table(self.facts)
        chains = {t[2]: (old, new) for t, old, new in changes if t[0] == CHAIN}
        sets = {t[2]: (old, new) for t, old, new in changes if t[0] == SET}
        elements = [(t, old, new) for t, old, new in changes if t[0] == ELEMENT]
        gone = [name for name, (_, new) in chains.items() if new is None]
        yield from (f"add set {table} {name} {{ {new} }}" for name, (old, new) in sets.items() if old is None)
        yield from self._fill({name: rules for name, (_, rules) in chains.items() if rules is not None})
        yield from _batches("delete", table, ((t, "") for t, old, _ in elements if old is not None))
        yield from _batches("add", table, ((t, str(new)) for t, _, new in elements if new is not None))
        yield from (f"flush chain {table} {name}" for name in gone)
        yield from (f"delete set {table} {name}" for name, (_, new) in sets.items() if new is None)
        self._stale.update(gone)

    def _fill(self, chains: dict[str, object]) -> Iterator[str]:
        table = _table(self.facts)
        self._stale.difference_update(chains)
        yield from (f"add chain {table} {name}" for name in chains)
        for name, rules in chains.items():
            yield f"flush chain {table} {name}"
            assert isinstance(rules, tuple)
            yield from (f"add rule {table} {name} {rule}" for rule in rules)


def _table(facts: Facts) -> str:
    return f"{facts.family.nft} {base.TABLE}"


def _things(fragment: Fragment) -> Iterator[tuple[Thing, object]]:
    """A fragment as things."""
    for (container, key), rest in fragment.elements.items():
        yield (ELEMENT, container, key), rest
    for name, rules in fragment.chains.items():
        yield (CHAIN, "", name), rules
    for name, declaration in fragment.sets.items():
        yield (SET, "", name), declaration


def _batches(verb: str, table: str, elements: Iterable[tuple[Thing, str]]) -> Iterator[str]:
    ordered = sorted(((thing[1], thing[2], rest) for thing, rest in elements), key=lambda e: e[0])
    for container, group in groupby(ordered, key=lambda e: e[0]):
        texts = [f"{key}{rest}" for _, key, rest in group]
        for start in range(0, len(texts), BATCH):
            yield f"{verb} element {table} {container} {{ {', '.join(texts[start : start + BATCH])} }}"


def _base(facts: Facts) -> str:
    """Commands for an empty table: containers, hooks, fixed chains."""
    table = _table(facts)
    lines = [f"add table {table}", f"delete table {table}", f'add table {table} {{ comment "rules for kube-proxy"; }}']
    for name, declaration in base.containers(facts.family).items():
        kind, rest = declaration.split(" ", 1)
        lines.append(f"add {kind} {table} {name} {{ {rest} }}")
    lines += [f"add chain {table} {name} {{ {hook} }}" for name, hook in base.HOOKS]
    chains = base.chains(facts)
    lines += [f"add chain {table} {name}" for name in chains]
    lines += [f"add rule {table} {name} {rule}" for name, rules in chains.items() for rule in rules]
    lines += [f"add rule {table} {name} {rule}" for name, rule in base.JUMPS]
    if facts.nodeport_addresses:
        lines.append(f"add element {table} {base.NODEPORT_IPS} {{ {', '.join(facts.nodeport_addresses)} }}")
    return "".join(f"{line}\n" for line in lines)


def deletion(facts: Facts) -> str:
    """The transaction that removes our table, also when there is none."""
    table = _table(facts)
    return f"add table {table}\ndelete table {table}\n"
