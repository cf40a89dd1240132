"""Contact candidates: MuJoCo's filters, and the features of each convex geom."""

import dataclasses
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.geoms import Geoms
from dojo.loaders.hulls import Hulls
from dojo.loaders.names import geom_name
from dojo.loaders.unsupported import disabled
from dojo.model.topology import (
    PLANE_KINDS,
    ContactGroup,
    FeatureKind,
    GeomKind,
    Hull,
)

_DISABLE = mujoco.mjtDisableBit
_LARGER, _FIRSTS, _SECONDS = 0, 1, 2
_KINDS = get_args(FeatureKind)
# Bodies that overlap by more than this at the start are told of [m].
_OVERLAPPING, _OVERLAP = "initial overlap", 1e-4
# What becomes of links of one robot that do.
OverlappingLinks = Literal["exclude", "collide"]
# Geoms that collide with each other, simplest first.
_COLLIDING: tuple[GeomKind, ...] = (
    "sphere",
    "ellipsoid",
    "capsule",
    "cylinder",
    "box",
    "mesh",
    "hfield",
)
# Those whose gaps among each other have closed forms; those that touch in one point.
_CLOSED, _ROUND = {"sphere", "capsule", "box"}, {"sphere", "ellipsoid"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two MuJoCo geoms that may touch; `explicit` is the row of its <pair>, or -1."""

    geom1: int
    geom2: int
    condim: int
    explicit: int


@dataclasses.dataclass(frozen=True)
class _Feature:
    """One row of a ContactGroup, before grouping."""

    kind: FeatureKind
    center_map: np.ndarray
    radius_map: np.ndarray
    vertex: int = -1


def _feature(kind: FeatureKind) -> _Feature:
    """A row that is found during the simulation."""
    return _Feature(kind, np.zeros((3, 3)), np.zeros(3))


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An entry of a ContactGroup: two of our geoms, and how they touch."""

    first: int
    second: int
    feature: _Feature
    cell: tuple[int, int, int] | None = None  # of a height field, as in ContactGroup
    window: tuple[int, int] | None = None


# What the entries of a group have in common: condim, kind, and whether on a height field.
_Key = tuple[int, FeatureKind, bool]


class _Row(NamedTuple):
    """An entry, and the pair that it comes from."""

    pair: Pair
    entry: _Entry


def read_contacts(
    m: mujoco.MjModel, geoms: Geoms, budget: int, overlapping: OverlappingLinks, found: Findings
) -> tuple[tuple[ContactGroup, ...], tuple[Hull | None, ...], dict[str, np.ndarray]]:
    """The contact groups, frictional ones first, the hulls of meshes, and their parameters."""
    if overlapping not in get_args(OverlappingLinks):
        raise ValueError(f"load(overlapping_links={overlapping!r}): 'exclude' or 'collide'.")
    rows: dict[_Key, list[_Row]] = {}
    hulls = Hulls(geoms, found)
    left_out: list[str] = []
    bounds = m.geom_rbound[list(geoms.index)]
    pairs = _without_overlaps(m, candidate_pairs(m), geoms, overlapping, found)
    for pair in pairs:
        if pair.geom1 not in geoms.index or pair.geom2 not in geoms.index:
            continue
        first, second = geoms.index[pair.geom1], geoms.index[pair.geom2]
        kinds = geoms.kinds[first], geoms.kinds[second]
        if set(kinds) <= {"plane", "hfield"}:
            continue  # MuJoCo, too, lets these pass through each other.
        if "plane" in kinds:
            plane = (first, second)[kinds.index("plane")]
            if geoms.link[plane] >= 0:
                found.refuse("mocap", f"{geoms.names[plane]}, a plane on a mocap body")
                continue
            entries = _on_plane(geoms, first, second, hulls)
        else:
            if "body-body collision" in found.ignore:
                left_out.append(f"{geom_name(m, pair.geom1)}-{geom_name(m, pair.geom2)}")
                continue
            entries = _between_bodies(geoms, first, second, hulls)
            if "hfield" in kinds:
                entries = _over_cells(entries[0], geoms, bounds)
        for entry in entries:
            key = (pair.condim, entry.feature.kind, entry.cell is not None)
            rows.setdefault(key, []).append(_Row(pair, entry))
    if left_out:
        found.refuse("body-body collision", f"{len(left_out)} pairs: {listing(left_out)}")
    order = sorted(rows, key=lambda key: (key[0] == 1, _KINDS.index(key[1]), key[2], key[0]))
    groups = tuple(_group(m, geoms, key, rows[key], budget) for key in order)
    return (
        groups,
        hulls.table(),
        {
            "mesh_vertices": hulls.vertices,
            "pair_friction": m.pair_friction.copy(),
            "pair_margin": m.pair_margin.copy(),
        },
    )


def _on_plane(geoms: Geoms, a: int, b: int, hulls: Hulls) -> list[_Entry]:
    """Features of the convex geom against the plane."""
    plane, body = (a, b) if geoms.kinds[a] == "plane" else (b, a)
    return [_Entry(plane, body, feature) for feature in _features(geoms, body, hulls)]


def _between_bodies(geoms: Geoms, a: int, b: int, hulls: Hulls) -> list[_Entry]:
    """What two convex geoms can touch with."""
    # The simpler one has the points.
    first, second = sorted((a, b), key=lambda g: (-_COLLIDING.index(geoms.kinds[g]), g))
    kinds = geoms.kinds[first], geoms.kinds[second]
    if not set(kinds) <= _CLOSED:
        for geom in (first, second):
            if geoms.kinds[geom] == "mesh":
                hulls.of(geom)
        kind: FeatureKind = "round" if set(kinds) & _ROUND else "convex"
        return [_Entry(first, second, _feature(kind))]
    if kinds == ("box", "box"):
        return [_Entry(first, second, _feature("boxes"))]
    points = _PRIMITIVE_FEATURES[kinds[1]]
    entries = [_Entry(first, second, dataclasses.replace(f, kind="closest")) for f in points]
    if kinds == ("capsule", "capsule"):
        others = [_Entry(second, first, dataclasses.replace(f, kind="closest")) for f in points]
        return [*entries, *others, _Entry(first, second, _feature("capsules"))]
    if kinds == ("box", "capsule"):
        return [*entries, _Entry(first, second, _feature("edges"))]
    return entries


def _over_cells(entry: _Entry, geoms: Geoms, bounds: np.ndarray) -> list[_Entry]:
    """An entry for each triangle of the cells that a geom may lie over; radii of all `bounds`."""
    field, radius = geoms.hfield[entry.first], bounds[entry.second]
    assert field is not None
    grid = np.array([field.rows - 1, field.columns - 1])
    side = 2 * np.array(field.extent[::-1]) / grid
    # Not to the cell: a step moves it.
    rows, columns = np.minimum(np.ceil(2 * radius / side).astype(int) + 3, grid).tolist()
    return [
        dataclasses.replace(entry, cell=(row, column, half), window=(rows, columns))
        for row in range(rows)
        for column in range(columns)
        for half in range(2)
    ]


def _group(
    m: mujoco.MjModel,
    geoms: Geoms,
    key: _Key,
    rows: list[_Row],
    budget: int,
) -> ContactGroup:
    mujoco_index = {i: g for g, i in geoms.index.items()}

    def rule(first: int, second: int) -> int:
        ahead = m.geom_priority[mujoco_index[first]] - m.geom_priority[mujoco_index[second]]
        return _FIRSTS if ahead > 0 else _SECONDS if ahead < 0 else _LARGER

    entries = [row.entry for row in rows]
    return ContactGroup(
        kind=key[1],
        condim=key[0],
        first=np.array([e.first for e in entries]),
        second=np.array([e.second for e in entries]),
        center_map=np.array([e.feature.center_map for e in entries]),
        radius_map=np.array([e.feature.radius_map for e in entries]),
        vertex=np.array([e.feature.vertex for e in entries]),
        friction_rule=np.array([rule(e.first, e.second) for e in entries]),
        pair=np.array([row.pair.explicit for row in rows]),
        budget=len(rows) if key[1] in PLANE_KINDS else budget,
        cell=np.array([e.cell for e in entries if e.cell is not None], int).reshape(-1, 3),
        window=np.array([e.window for e in entries if e.window is not None], int).reshape(-1, 2),
    )


def candidate_pairs(m: mujoco.MjModel) -> list[Pair]:
    """Geom pairs after MuJoCo's filters; explicit pairs win over dynamic ones."""
    if disabled(m, _DISABLE.mjDSBL_CONTACT) or disabled(m, _DISABLE.mjDSBL_CONSTRAINT):
        return []
    pairs = {}
    for g1, g2 in _dynamic_pairs(m):
        p1, p2 = m.geom_priority[g1], m.geom_priority[g2]
        d1, d2 = int(m.geom_condim[g1]), int(m.geom_condim[g2])
        pairs[(g1, g2)] = Pair(g1, g2, max(d1, d2) if p1 == p2 else (d1 if p1 > p2 else d2), -1)
    for k in range(m.npair):
        g1, g2 = sorted((int(m.pair_geom1[k]), int(m.pair_geom2[k])))
        if all(_still(m, int(m.geom_bodyid[g])) for g in (g1, g2)):
            continue
        pairs[(g1, g2)] = Pair(g1, g2, int(m.pair_dim[k]), k)
    return list(pairs.values())


def _dynamic_pairs(m: mujoco.MjModel) -> Iterator[tuple[int, int]]:
    collides = np.flatnonzero(m.geom_contype | m.geom_conaffinity)
    excluded = {int(s) for s in m.exclude_signature}
    for k, g1 in enumerate(collides):
        for g2 in collides[k + 1 :]:
            mask = (m.geom_contype[g1] & m.geom_conaffinity[g2]) | (
                m.geom_contype[g2] & m.geom_conaffinity[g1]
            )
            if mask and not _filtered(m, int(m.geom_bodyid[g1]), int(m.geom_bodyid[g2]), excluded):
                yield int(g1), int(g2)


def _filtered(m: mujoco.MjModel, b1: int, b2: int, excluded: set[int]) -> bool:
    """MuJoCo's body filters: same weld group, parent and child, <exclude>."""
    if _still(m, b1) and _still(m, b2):
        return True
    low, high = min(b1, b2), max(b1, b2)
    if (low << 16) + high in excluded:
        return True
    w1, w2 = int(m.body_weldid[b1]), int(m.body_weldid[b2])
    if w1 == w2:
        return True
    if disabled(m, _DISABLE.mjDSBL_FILTERPARENT) or not (w1 and w2):
        return False
    up1, up2 = (int(m.body_weldid[m.body_parentid[w]]) for w in (w1, w2))
    return w1 == up2 or w2 == up1


def _still(m: mujoco.MjModel, body: int) -> bool:
    """Whether no degree of freedom moves a body: it is fixed to the world or to a mocap body."""
    return bool(m.body_treeid[body] < 0)


def _without_overlaps(
    m: mujoco.MjModel,
    pairs: list[Pair],
    geoms: Geoms,
    overlapping: OverlappingLinks,
    found: Findings,
) -> list[Pair]:
    """The pairs, without those that overlap from the start: links of one robot, or all if asked."""
    overlaps = _overlaps(m, pairs, geoms)
    if _OVERLAPPING in found.ignore:
        if overlaps:
            found.note(f"ignored on request, {_OVERLAPPING}: {_listed_pairs(overlaps)}")
        return [pair for pair in pairs if pair not in overlaps]
    own = {p: name for p, name in overlaps.items() if overlapping == "exclude" and _of_one(m, p)}
    other = {p: name for p, name in overlaps.items() if p not in own}
    if own:
        found.note(
            "links of one robot that overlap where the file puts them do not touch each other, "
            f"{_listed_pairs(own)}; dojo.load(..., overlapping_links='collide') lets them"
        )
    if other:
        found.note(
            f"bodies overlap where the file puts them, {_listed_pairs(other)}. A step that cannot "
            f"part them is INFEASIBLE: <exclude> them, or dojo.load(..., ignore=['{_OVERLAPPING}'])"
        )
    apart = {_bodies(m, pair) for pair in own}
    return [pair for pair in pairs if pair.explicit >= 0 or _bodies(m, pair) not in apart]


def _overlaps(m: mujoco.MjModel, pairs: list[Pair], geoms: Geoms) -> dict[Pair, str]:
    """The pairs that overlap where the file puts them, and what to call them."""
    data, ends = mujoco.MjData(m), np.zeros(6)
    mujoco.mj_kinematics(m, data)
    overlaps = {}
    for pair in pairs:
        ends_of = (pair.geom1, pair.geom2)
        known = all(g in geoms.index for g in ends_of)
        if known and not {"plane", "hfield"} & {geoms.kinds[geoms.index[g]] for g in ends_of}:
            depth = -mujoco.mj_geomDistance(m, data, *ends_of, 1.0, ends)
            if depth > _OVERLAP:
                overlaps[pair] = f"{geom_name(m, ends_of[0])}-{geom_name(m, ends_of[1])}"
    return overlaps


def _listed_pairs(overlaps: dict[Pair, str]) -> str:
    return f"{len(overlaps)} pairs: {listing(list(overlaps.values()))}"


def _bodies(m: mujoco.MjModel, pair: Pair) -> frozenset[int]:
    return frozenset(int(m.geom_bodyid[g]) for g in (pair.geom1, pair.geom2))


def _of_one(m: mujoco.MjModel, pair: Pair) -> bool:
    """Whether a pair that no <pair> asks for is of two bodies of one robot; the world is none."""
    first, second = m.body_rootid[m.geom_bodyid[[pair.geom1, pair.geom2]]]
    return pair.explicit < 0 and bool(first == second != 0)


def _features(geoms: Geoms, g: int, hulls: Hulls) -> list[_Feature]:
    kind, zero = geoms.kinds[g], np.zeros((3, 3))
    if kind == "mesh":
        return [_Feature("point", zero, np.zeros(3), int(row)) for row in hulls.of(g).rows]
    return _PRIMITIVE_FEATURES[kind]


def _map(*entries: tuple[int, int, float]) -> np.ndarray:
    """Matrix of a centre that is linear in the size."""
    matrix = np.zeros((3, 3))
    for row, column, value in entries:
        matrix[row, column] = value
    return matrix


_RADIUS, _POINT = np.array([1.0, 0.0, 0.0]), np.zeros(3)
_SIGNS = (-1.0, 1.0)
# Corners of a rim bear where it stands or lands flat (dojo.physics.collision).
_RIM = [(float(np.cos(a)), float(np.sin(a))) for a in np.arange(8) * np.pi / 4]
_PRIMITIVE_FEATURES: dict[GeomKind, list[_Feature]] = {
    "sphere": [_Feature("point", _map(), _RADIUS)],
    "capsule": [_Feature("point", _map((2, 1, s)), _RADIUS) for s in _SIGNS],
    "box": [
        _Feature("point", _map((0, 0, a), (1, 1, b), (2, 2, c)), _POINT)
        for a in _SIGNS
        for b in _SIGNS
        for c in _SIGNS
    ],
    "ellipsoid": [_Feature("ellipsoid", _map(), _POINT)],
    "cylinder": [
        *[_Feature("disc", _map((2, 1, s)), _RADIUS) for s in _SIGNS],
        *[
            _Feature("point", _map((0, 0, x), (1, 0, y), (2, 1, s)), _POINT)
            for s in _SIGNS
            for x, y in _RIM
        ],
    ],
}
