"""Contact candidates: their gaps, points and frames.

A candidate is a place where two geoms may touch. Which feature of the bodies it stands for is
settled at the start of a step; its gap is evaluated exactly wherever the step ends. The kinds are
those of `ContactGroup`: features of convex geoms against fixed planes (`planes`), points and
segments of rounded bodies (`rounded`), faces and edges of boxes (`boxes`), spheres and ellipsoids
against all others (`smooth`), and what is left, with a cylinder or a mesh (`convex`).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import cross
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.model.topology import ContactGroup, Topology
from dojo.physics import boxes, convex, features, planes, rounded, smooth, terrain
from dojo.physics.boxes import Facets
from dojo.physics.features import Held
from dojo.physics.friction import Friction, friction_of
from dojo.physics.kinematics import Frames
from dojo.physics.nearest import nearest_pairs
from dojo.physics.pairs import (
    Bodies,
    Ground,
    Pairs,
    Table,
    Touch,
    margins,
    one_table,
    placed,
    tangent_frame,
)
from dojo.physics.planes import OnPlanes
from dojo.physics.rounded import Edges
from dojo.physics.smooth import Round


class Settled(NamedTuple):
    """What the start of a step decides about the pairs of a group."""

    chosen: Array | None  # (k,) the entries that take part; None: all
    ground: Ground | None  # what they lie over, of height fields
    features: Facets | Edges | Round | Held | None


class Candidates(NamedTuple):
    """Contact candidates with everything that is constant over a step."""

    friction: Friction
    planes: OnPlanes
    bodies: tuple[Settled, ...]  # pairs of bodies, group by group; none before `anchored`
    frame: Array  # (3, 3, nc) columns n, t1, t2 at the start of a step, world; see `framed`
    overflow: Array  # () pairs of bodies that may touch, but are left out


def candidates(model: Model) -> Candidates:
    """The candidates with planes and the model's geometry; `anchored` adds pairs of bodies."""
    fixed = planes.on_planes(model)
    return Candidates(_friction(model, ()), fixed, (), fixed.frame, jnp.asarray(0))


def anchored(model: Model, c: Candidates, frames: Frames | Bodies, ahead: Frames) -> Candidates:
    """Candidates for a step from these link poses, to about those `ahead`."""
    now, later = _bodies(frames), _bodies(ahead)
    settled, overflow = [], jnp.asarray(0)
    for group in _pair_groups(model.topology):
        ground = terrain.under(model, group, now, later) if group.on_ground else None
        chosen, lost = nearest_pairs(model, group, Pairs.of(group, None, ground), now, later)
        if chosen is not None:
            ground = jax.tree.map(lambda x, chosen=chosen: x[..., chosen], ground)
        features = _features(model, group, Pairs.of(group, chosen, ground), now, later)
        settled.append(Settled(chosen, ground, features))
        overflow += lost
    return c._replace(
        friction=_friction(model, tuple(settled)),
        planes=planes.anchored(model, c.planes, now.second),
        bodies=tuple(settled),
        overflow=overflow,
    )


def _bodies(frames: Frames | Bodies) -> Bodies:
    return frames if isinstance(frames, Bodies) else Bodies(frames, frames)


@functools.lru_cache(maxsize=64)
def _pair_groups(topology: Topology) -> tuple[ContactGroup, ...]:
    """The groups of pairs of bodies."""
    return tuple(g for g in topology.contacts if not g.with_plane)


def _features(
    model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, later: Bodies
) -> Facets | Edges | Round | Held | None:
    if group.kind == "boxes":
        return boxes.facets(model, pairs, now, later)
    if group.kind == "round":
        return smooth.settle(model, group, pairs, now, later)
    if group.kind == "convex":
        return convex.settle(model, group, pairs, now, later)
    return rounded.edges(model, pairs, now) if group.kind == "edges" else None


def framed(model: Model, c: Candidates, at: Touch) -> Candidates:
    """Candidates with their frames where they touch like this."""
    if not c.bodies:
        return c._replace(frame=c.planes.frame)
    turned = tangent_frame(at.normal[:, ~_of_plane(model.topology)])
    return c._replace(frame=_arranged(model.topology, [c.planes.frame, turned]))


def touch(model: Model, c: Candidates, frames: Frames | Bodies) -> Touch:
    """Gaps, less the margins, touching points and normals at these link poses."""
    bodies = _bodies(frames)
    parts, groups = [planes.touch(model, c.planes, bodies.second)], _pair_groups(model.topology)
    if len(c.bodies) < len(groups):
        c = c._replace(bodies=anchored(model, c, bodies, bodies.second).bodies)
    for group, (chosen, ground, held) in zip(groups, c.bodies, strict=True):
        pairs = Pairs.of(group, chosen, ground)
        match held:
            case Facets():
                parts.append(boxes.touch(model, pairs, held, bodies))
            case Edges():
                parts.append(rounded.on_edges(model, pairs, held, bodies))
            case Round():
                parts.append(smooth.touch(model, pairs, held, bodies))
            case Held():
                parts.append(features.touch(held, *placed(model, pairs, bodies)))
            case None:
                parts.append(rounded.AT_ANY_POSE[group.kind](model, pairs, bodies))
    whole = Touch(*(_arranged(model.topology, field) for field in zip(*parts, strict=True)))
    return _at_margins(model, c, whole)


def _at_margins(model: Model, c: Candidates, at: Touch) -> Touch:
    """The same where geoms keep a distance: between surfaces outside of them by half of it."""
    if not model.topology.margins:
        return at
    margin = margins(model, *(_of_candidates(model, c, x) for x in ("first", "second", "pair")))
    return Touch(at.gap - margin, at.point - 0.5 * margin * at.normal, at.normal)


def _arranged(topology: Topology, parts: Sequence[Array]) -> Array:
    """What planes (..., n) and pairs (..., k) have, in the order of the candidates (..., nc)."""
    if len(parts) == 1:
        return parts[0]
    whole, order = jnp.concatenate(parts, axis=-1), _order(topology)
    return whole if (np.diff(order) == 1).all() else whole[..., order]


@functools.lru_cache(maxsize=64)
def _order(topology: Topology) -> np.ndarray:
    """Where each candidate stands when those with planes come first, (nc,)."""
    return np.argsort(np.argsort(~_of_plane(topology), kind="stable"), kind="stable")


def _of_plane(topology: Topology) -> np.ndarray:
    """Which candidates are with planes, (nc,)."""
    parts = [np.full(len(g), g.with_plane) for g in topology.contacts]
    return np.concatenate([np.zeros(0, bool), *parts])


def contact_geoms(model: Model, c: Candidates) -> np.ndarray | Array:
    """Geoms of the first and second body of each candidate, (2, nc)."""
    sides = [_of_candidates(model, c, side) for side in ("first", "second")]
    return np.stack(sides) if isinstance(sides[0], np.ndarray) else jnp.stack(sides)


def _of_candidates(model: Model, c: Candidates, field: str) -> Table:
    """A field of `Pairs` for each candidate, (nc,)."""
    parts = [planes.joined(planes.plane_groups(model.topology), field)]
    for group, (chosen, *_) in zip(_pair_groups(model.topology), c.bodies, strict=True):
        parts.append(getattr(Pairs.of(group, chosen), field).repeat(group.rows))
    return one_table(parts)[_order(model.topology)]


def contact_links(model: Model, c: Candidates) -> np.ndarray | Array:
    """Links of the first and second body of each candidate, -1 the world: (2, nc)."""
    return entries(model.topology.geom_link, contact_geoms(model, c))


def contact_moves(model: Model, c: Candidates) -> Array:
    """How a degree of freedom moves the second body against the first: 1, 0 or -1, (nv, nc)."""
    moves = model.topology.moves.astype(int)
    first, second = contact_links(model, c)
    return jnp.asarray((entries(moves, second) - entries(moves, first)).T, model.dtype)


def _friction(model: Model, settled: tuple[Settled, ...]) -> Friction:
    with_plane = [(g, None) for g in planes.plane_groups(model.topology)]
    between = zip(_pair_groups(model.topology), settled, strict=bool(settled))
    every = [*with_plane, *((g, s.chosen) for g, s in between)]
    return friction_of(model, [(g, Pairs.of(g, chosen)) for g, chosen in every if g.frictional])


def contact_points(at: Touch) -> Array:
    """Midpoints between the two surfaces, (3, nc): where impulses act."""
    return at.point - 0.5 * at.gap * at.normal


def padded(frictional: Array, nc: int) -> Array:
    """Values (..., nf) of the frictional candidates, zero for the others: (..., nc)."""
    missing = nc - frictional.shape[-1]
    if not missing:
        return frictional
    zero = jnp.zeros((*frictional.shape[:-1], missing), frictional.dtype)
    return jnp.concatenate([frictional, zero], axis=-1)


def contact_impulses(c: Candidates, gamma: Array, b: Array) -> Array:
    """Impulses (1 + d, nc) of contacts, by gamma (nc,) and b (d, nf or more) of the cones."""
    friction = b[:, : c.friction.sliding.shape[0]]
    if c.friction.shares is not None:
        friction = friction * c.friction.shares
    return jnp.concatenate([gamma[None], padded(friction, len(gamma))])


def unit_screw(c: Candidates, point: Array, k: int) -> Array:
    """World wrenches (6, n) of unit impulses at contact points (3, nc), about the origin.

    k = 0: along the normal, of all candidates; then the components of friction, of the candidates
    that have it: 1 and 2 along the tangents, 3 about the normal, 4 and 5 about the tangents.
    """
    if k == 0:
        return screws(point, c.frame[:, 0])
    nf = c.friction.sliding.shape[0]
    direction = c.frame[:, k % 3, :nf]
    turns = jnp.concatenate([direction, jnp.zeros_like(direction)])
    screw = screws(point[:, :nf], direction) if k < 3 else turns
    return screw if c.friction.shares is None else screw * c.friction.shares[k - 1]


def screws(point: Array, direction: Array) -> Array:
    """World wrenches (6, ...) of unit forces along `direction` at `point`, about the origin."""
    return jnp.concatenate([cross(point, direction), direction])
