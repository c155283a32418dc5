"""Filters and scores that look at the pods of whole domains: topology spread and inter-pod (anti-)affinity.

All counts come from `counters`, where they are kept as pods come and go; what is done per pod is a few array look-ups.

Upstream counterparts: pkg/scheduler/framework/plugins/{podtopologyspread,interpodaffinity}.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from navarch.machinery import codec, selectors
from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.arrays import Floats, Ints, Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.counters import AVOIDED, FORBIDDEN, PREFERRED, REQUIRED, Domains, PodPredicate, Tally
from navarch.scheduler.core.plugin import MOST
from navarch.scheduler.core.plugins import node_affinity, taints
from navarch.scheduler.core.terms import AffinityTerm, Matcher, SpreadTerm, spread_term
from navarch.scheduler.core.view import Refusal, View

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_SPREAD = "node(s) didn't match pod topology spread constraints"


def system_spreads(selector: selectors.Selector) -> tuple[SpreadTerm, ...]:
    """What a pod of a Service or controller gets that names no constraint: spread over hosts, and over zones."""
    return (SpreadTerm(HOSTNAME, 3, False, selector), SpreadTerm(ZONE, 5, False, selector))


def default_spreads(selector: selectors.Selector, arguments: Arguments) -> tuple[SpreadTerm, ...]:
    """The profile's constraints for a pod that names none, over the pods it belongs with."""
    if arguments.default_constraints is None:
        return system_spreads(selector)
    return tuple(dataclasses.replace(spread_term(c, {}), selector=selector) for c in arguments.default_constraints)


# ---- topology spread ----------------------------------------------------------------------------------------------


def _has_all(columns: Columns, terms: list[SpreadTerm]) -> Mask | None:
    """Nodes with the keys of all terms; None when a key is on no node."""
    every = columns.alive.copy()
    for term in terms:
        codes = columns.label(term.key)
        if codes is None:
            return None
        every &= codes >= 0
    return every


def _mark(view: View, term: SpreadTerm, keys: tuple[str, ...]) -> bytes:
    """Names the nodes whose pods count for a constraint."""
    pod = view.pod
    affinity = (pod.node_selector, pod.node_affinity) if term.honor_affinity else None
    if affinity == ((), None):
        affinity = None
    return codec.encode([keys, affinity, pod.tolerations if term.honor_taints else None])


def _counted(view: View, term: SpreadTerm, nodes: Mask, keys: tuple[str, ...]) -> Domains | None:
    """The constraint's pods per domain, over those of `nodes` (the ones with all `keys`) that its policies include."""
    columns, counters = view.columns, view.columns.counters
    tally = _tally(view, term)
    mark = _mark(view, term, keys)
    counters.follow_nodes()
    if (term.key, mark) in tally.domains:
        return counters.domains(tally, term.key, None, mark)
    eligible = nodes
    chosen = node_affinity.selected(columns, view.pod) if term.honor_affinity else None
    if chosen is not None:
        eligible = eligible & chosen
    refused = taints.nodes_with_untolerated(columns, view.pod) if term.honor_taints else None
    if refused is not None:
        eligible = eligible & ~refused
    return counters.domains(tally, term.key, eligible, mark)


def _tally(view: View, term: SpreadTerm) -> Tally:
    matcher = Matcher(selectors.NOTHING if term.selector.empty else term.selector, frozenset({view.pod.namespace}))
    return view.columns.counters.tally(PodPredicate((matcher,), True))


def spread(view: View, left: Mask) -> list[Refusal]:
    """No domain may get more than `skew` pods above the one with the fewest."""
    columns = view.columns
    hard = [t for t in view.pod.spreads if t.hard]
    if not hard:
        return []
    found: list[Refusal] = []
    keys = tuple(sorted({t.key for t in hard}))
    every = _has_all(columns, hard)
    for term in hard:
        codes = columns.label(term.key)
        missing = left & (codes < 0) if codes is not None else left
        found.append(Refusal(f"{_SPREAD} (missing required label)", missing, True))
        left = left & ~missing
        if codes is None:
            break
        skewed = left & _skewed(view, term, every, keys)
        found.append(Refusal(_SPREAD, skewed, False))
        left = left & ~skewed
    return found


def _skewed(view: View, term: SpreadTerm, every: Mask | None, keys: tuple[str, ...]) -> Mask:
    own = 1 if term.selector.matches(view.pod.labels) else 0
    nodes = every if every is not None else np.zeros(view.columns.capacity, np.bool_)
    domains = _counted(view, term, nodes, keys)
    assert domains is not None
    least = _least(domains, term.minimum_domains)
    refused: Mask = domains.of_nodes() > term.skew + least - own
    return refused


_NO_DOMAIN = 2**31 - 1


def _least(domains: Domains, minimum: int) -> int:
    """The fewest pods in a domain; none at all while there are fewer domains than wanted."""
    if domains.number < minimum:
        return 0
    if not domains.number:
        return _NO_DOMAIN
    return int(domains.sums.min(where=domains.counted, initial=_NO_DOMAIN))


def spread_score(view: View, feasible: Mask) -> Ints | None:
    """Fewer pods of the kind in a node's domains are better."""
    columns = view.columns
    soft = [t for t in view.pod.spreads if not t.hard]
    if not soft:
        return None
    all_keys = not (view.pod.default_spread and view.arguments.default_constraints is None)
    labelled = _has_all(columns, soft) if all_keys else columns.alive
    if labelled is None:
        return np.zeros(columns.capacity, np.int64)
    keys = tuple(sorted({t.key for t in soft})) if all_keys else ()
    counted = feasible & labelled if all_keys else feasible
    total = np.zeros(columns.capacity, np.float64)
    for term in soft:
        part = _spread_part(view, term, labelled, keys, counted)
        if part is not None:
            total += part
    whole = np.floor(total)
    scores = (whole + (total - whole >= 0.5)).astype(np.int64)
    return _spread_normalized(scores, counted)


def _spread_part(view: View, term: SpreadTerm, labelled: Mask, keys: tuple[str, ...], counted: Mask) -> Floats | None:
    codes = view.columns.label(term.key)
    if codes is None:
        return None
    if term.key == HOSTNAME:
        size = int(np.count_nonzero(counted))
        numbers = _tally(view, term).counts
    else:
        domains = _counted(view, term, labelled, keys)
        assert domains is not None
        present = np.zeros(len(domains.sums), np.bool_)
        present[codes[counted]] = True
        size = int(np.count_nonzero(present))
        numbers = domains.of_nodes()
    part: Floats = numbers.astype(np.float64) * math.log(size + 2) + (term.skew - 1)
    part[codes < 0] = 0.0
    return part


def _spread_normalized(scores: Ints, counted: Mask) -> Ints:
    most = int(scores.max(where=counted, initial=0))
    if most == 0:
        return counted * MOST
    least = int(scores.min(where=counted, initial=2**62))
    normal: Ints = MOST * (most + least - scores) // most
    normal[~counted] = 0
    return normal


# ---- inter-pod affinity -------------------------------------------------------------------------------------------


def affinity(view: View, left: Mask) -> list[Refusal]:
    """Required affinity and anti-affinity: the pod's own, and the anti-affinity of the pods that are there."""
    found: list[Refusal] = []
    pod, counters = view.pod, view.columns.counters
    if pod.affinity:
        lonely = left & ~_together(view)
        found.append(Refusal("node(s) didn't match pod affinity rules", lonely, True))
        left = left & ~lonely
    if pod.anti_affinity:
        wanted = [(t, counters.tally(PodPredicate((t.pods,)))) for t in pod.anti_affinity]
        refused = left & _anywhere(view.columns, wanted)
        found.append(Refusal("node(s) didn't match pod anti-affinity rules", refused, False))
        left = left & ~refused
    forbidding = [(t, tally) for what, t, tally in counters.carriers(pod) if what == FORBIDDEN and tally.total]
    if forbidding:
        refused = left & _anywhere(view.columns, forbidding)
        found.append(Refusal("node(s) didn't satisfy existing pods anti-affinity rules", refused, False))
    return found


def _anywhere(columns: Columns, terms: list[tuple[AffinityTerm, Tally]]) -> Mask:
    """Nodes in a domain that has any of the counted pods."""
    refused = np.zeros(columns.capacity, np.bool_)
    for key, sums in _sums(columns, [(t, tally, 1) for t, tally in terms]).items():
        codes = columns.label(key)
        assert codes is not None
        refused |= (sums > 0)[codes]
    return refused


def _sums(columns: Columns, terms: list[tuple[AffinityTerm, Tally, int]]) -> dict[str, Ints]:
    """Per topology key: the weighted pods of each domain, added over terms."""
    found: dict[str, Ints] = {}
    for term, tally, weight in terms:
        domains = columns.counters.domains(tally, term.key) if tally.total else None
        if domains is not None:
            part = domains.sums * weight if weight != 1 else domains.sums
            found[term.key] = found[term.key] + part if term.key in found else part
    return found


def _together(view: View) -> Mask:
    """Nodes in a domain that has, for every term, a pod that all terms match; or anywhere, for the first pod of its kind."""
    columns, pod = view.columns, view.pod
    tally = columns.counters.tally(PodPredicate(tuple(t.pods for t in pod.affinity)))
    ok, labelled, any_pod = columns.alive.copy(), columns.alive.copy(), False
    for term in pod.affinity:
        domains = columns.counters.domains(tally, term.key)
        if domains is None:
            return np.zeros(columns.capacity, np.bool_)
        there = domains.sums > 0
        any_pod = any_pod or bool(there.any())
        ok &= there[domains.codes]
        labelled &= domains.codes >= 0
    if not any_pod and all(t.pods.matches(pod.namespace, pod.labels, columns.namespaces) for t in pod.affinity):
        return labelled
    return ok


def affinity_score(view: View, feasible: Mask) -> Ints | None:
    """Wishes of the pod about others, and of others about it, added per domain and scaled between the least and the most."""
    pod, counters, arguments = view.pod, view.columns.counters, view.arguments
    terms = [(t, counters.tally(PodPredicate((t.pods,))), t.weight) for t in pod.preferred_affinity]
    terms += [(t, counters.tally(PodPredicate((t.pods,))), -t.weight) for t in pod.preferred_anti_affinity]
    if terms or not arguments.ignore_preferred_terms_of_existing_pods:
        weights = {REQUIRED: arguments.hard_pod_affinity_weight, PREFERRED: 1, AVOIDED: -1}
        for what, term, tally in counters.carriers(pod):
            if what != FORBIDDEN and tally.total:
                terms.append((term, tally, weights[what] * (1 if what == REQUIRED else term.weight)))
    total: Ints | None = None
    for key, sums in _sums(view.columns, terms).items():
        codes = view.columns.label(key)
        assert codes is not None
        part = sums[codes]
        total = part if total is None else total + part
    return None if total is None else _affinity_normalized(total, feasible)


def _affinity_normalized(total: Ints, feasible: Mask) -> Ints:
    least = int(total.min(where=feasible, initial=2**62))
    most = int(total.max(where=feasible, initial=-(2**62)))
    if most <= least:
        return np.zeros_like(total)
    return (float(MOST) * ((total - least) / float(most - least))).astype(np.int64)
