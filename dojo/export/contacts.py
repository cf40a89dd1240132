"""What may touch what: contact types, exclusions and explicit pairs that give the same contacts."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from dojo.export.bodies import name_of
from dojo.export.document import Document, add
from dojo.loaders.contacts import candidate_pairs
from dojo.model.model import Model
from dojo.model.topology import WORLD, ContactGroup

# Bits of contype and conaffinity: of what moves against what stands, of what moves.
_STILL, _MOVING = 1, 2
_PASSING = {"plane", "hfield"}

Ends = tuple[int, int]  # two geoms, the smaller index first


@dataclasses.dataclass(frozen=True)
class Touching:
    """How two geoms touch."""

    condim: int
    decides: int  # geom whose friction counts, -1 if the larger one of both
    row: int  # of Model.pair_friction, -1 if the geoms' own counts


def write_contacts(document: Document, names: list[str]) -> None:
    """Attributes of the geoms, then the exceptions that make the contacts those of the model."""
    contacts = _contacts(document.model)
    ordinary = {ends: c for ends, c in contacts.items() if c.row < 0}
    fits = _give_types(document, names, ordinary)
    asked = {ends for ends, c in contacts.items() if c.row >= 0}
    asked |= {ends for ends in ordinary if ends not in fits}
    found = _found(document, names)
    asked |= ordinary.keys() - found
    asked |= _exclude(document, found - contacts.keys(), ordinary)
    for ends in sorted(asked):
        _write_pair(document, names, ends, contacts[ends])


def _contacts(model: Model) -> dict[Ends, Touching]:
    """The pairs of geoms that may touch."""
    found = {}
    for group in model.topology.contacts:
        for k, ends in enumerate(zip(group.first.tolist(), group.second.tolist(), strict=True)):
            low, high = sorted(ends)
            found[low, high] = Touching(group.condim, _decides(group, k), int(group.pair[k]))
    return found


def _decides(group: ContactGroup, k: int) -> int:
    return (-1, int(group.first[k]), int(group.second[k]))[int(group.friction_rule[k])]


def _give_types(document: Document, names: list[str], contacts: dict[Ends, Touching]) -> set[Ends]:
    """Contact types, condim and priority of the geoms; the contacts that follow from them."""
    contype, conaffinity = np.zeros(len(names), int), np.zeros(len(names), int)
    condim = np.full(len(names), max((c.condim for c in contacts.values()), default=3))
    for ends in contacts:
        still = [g for g in ends if _stands(document, g)]
        for g in ends:
            bit = _STILL if still else _MOVING
            contype[g] |= 0 if g in still else bit
            conaffinity[g] |= bit if g in still or not still else 0
    priority = _priorities(len(names), contacts)
    for ends, c in contacts.items():
        for g in ends if c.decides < 0 else (c.decides,):
            condim[g] = min(condim[g], c.condim)
    elements = {str(e.get("name")): e for e in document.root.iter("geom")}
    for g, name in enumerate(names):
        for key, value in (
            ("contype", contype[g]),
            ("conaffinity", conaffinity[g]),
            ("condim", condim[g]),
            ("priority", priority[g]),
        ):
            elements[name].set(key, str(int(value)))

    def follows(ends: Ends, c: Touching) -> bool:
        a, b = ends
        if priority[a] == priority[b]:
            return c.decides < 0 and c.condim == max(condim[a], condim[b])
        first = a if priority[a] > priority[b] else b
        return c.decides == first and c.condim == condim[first]

    return {ends for ends, c in contacts.items() if follows(ends, c)}


def _priorities(count: int, contacts: dict[Ends, Touching]) -> np.ndarray:
    """The least ones by which the geoms that decide do so, where there are such."""
    priority = np.zeros(count, int)
    for _ in range(len({c.decides for c in contacts.values()}) + 1):
        for ends, c in contacts.items():
            most = max(priority[g] for g in ends)
            if c.decides < 0:
                priority[list(ends)] = most
            else:
                (other,) = {*ends} - {c.decides}
                priority[c.decides] = max(most, priority[other] + 1)
    return priority


def _stands(document: Document, geom: int) -> bool:
    t = document.model.topology
    link = int(t.geom_link[geom])
    return link == WORLD or t.joint_kind[link] == "mocap"


def _found(document: Document, names: list[str]) -> set[Ends]:
    """The pairs that MuJoCo's filters leave of the document as it is."""
    m = document.compiled()
    index = {name: g for g, name in enumerate(names)}
    kinds = document.model.topology.geom_kind
    found = set()
    for pair in candidate_pairs(m):
        own = sorted(index.get(m.geom(g).name, -1) for g in (pair.geom1, pair.geom2))
        if own[0] >= 0 and not {kinds[g] for g in own} <= _PASSING:
            found.add((own[0], own[1]))
    return found


def _exclude(
    document: Document, extra: Iterable[Ends], ordinary: dict[Ends, Touching]
) -> set[Ends]:
    """Excludes pairs of bodies that have contacts too many; those to be asked for instead."""
    link = document.model.topology.geom_link

    def bodies(ends: Ends) -> tuple[str, str]:
        low, high = sorted(name_of(document, int(link[g])) for g in ends)
        return low, high

    excluded = {bodies(ends) for ends in extra}
    for body1, body2 in sorted(excluded):
        add(document.section("contact"), "exclude", body1=body1, body2=body2)
    return {ends for ends in ordinary if bodies(ends) in excluded}


def _write_pair(document: Document, names: list[str], ends: Ends, c: Touching) -> None:
    """An explicit pair; friction and margin of one that follows from its geoms are those."""
    model = document.model
    friction: Any
    if c.row >= 0:
        friction, margin = model.pair_friction[c.row], model.pair_margin[c.row]
    else:
        both = np.array(ends if c.decides < 0 else (c.decides,))
        sliding = float(np.asarray(model.geom_friction)[both].max())
        spin, roll = np.asarray(model.geom_spin_friction)[both].max(axis=0)
        friction = [sliding, sliding, spin, roll, roll]
        margin = np.asarray(model.geom_margin)[list(ends)].sum()
    add(
        document.section("contact"),
        "pair",
        geom1=names[ends[0]],
        geom2=names[ends[1]],
        condim=c.condim,
        friction=friction,
        margin=margin if np.any(margin) else None,
    )
