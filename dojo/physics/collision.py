"""Contact candidates: their gaps, points and frames.

A candidate is a place where two geoms may touch. Which feature of the bodies it stands for is
settled at the start of a step; its gap is evaluated exactly wherever the step ends. The kinds are
those of `ContactGroup`: features of convex geoms against fixed planes (`planes`), points and
segments of rounded bodies (`rounded`), faces and edges of boxes (`boxes`).
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import at_least, cross, dot
from dojo.model.model import Model
from dojo.model.topology import ContactGroup, Topology, contact_geoms
from dojo.physics import boxes, planes, rounded
from dojo.physics.boxes import Facets
from dojo.physics.kinematics import Frames
from dojo.physics.planes import Bodies, OnPlanes, Touch
from dojo.physics.rounded import Edges


class Candidates(NamedTuple):
    """Contact candidates with everything that is constant over a step."""

    friction: Array  # (nc_friction,)
    planes: OnPlanes
    # What is settled of pairs of bodies at the start of a step, group by group.
    pairs: tuple[Facets | Edges | None, ...] | None
    frame: Array  # (3, 3, nc) columns n, t1, t2 at the start of a step, world; see `framed`


def candidates(model: Model) -> Candidates:
    """The candidates with the model's geometry, not yet those of a step."""
    fixed = planes.on_planes(model)
    return Candidates(_friction(model), fixed, None, fixed.frame)


def anchored(model: Model, c: Candidates, frames: Frames | Bodies, ahead: Frames) -> Candidates:
    """Candidates for a step from these link poses, to about those `ahead`."""
    bodies = _bodies(frames)
    settled = _settled(model, bodies, _bodies(ahead))
    return c._replace(planes=planes.anchored(model, c.planes, bodies.second), pairs=settled)


def _bodies(frames: Frames | Bodies) -> Bodies:
    return frames if isinstance(frames, Bodies) else Bodies(frames, frames)


def framed(model: Model, c: Candidates, at: Touch) -> Candidates:
    """Candidates with their frames where they touch like this."""
    groups = _pair_groups(model.topology)
    if not groups:
        return c._replace(frame=c.planes.frame)
    of_pair = ~_of_plane(model.topology)
    turned = tangent_frame(at.normal[:, of_pair])
    return c._replace(frame=_arranged(model.topology, [c.planes.frame, turned]))


def _settled(model: Model, bodies: Bodies, ahead: Bodies) -> tuple[Facets | Edges | None, ...]:
    """What is constant of each group of pairs over a step."""
    found: list[Facets | Edges | None] = []
    for group in _pair_groups(model.topology):
        if group.kind == "boxes":
            found.append(boxes.facets(model, group, bodies, ahead))
        else:
            found.append(rounded.edges(model, group, bodies) if group.kind == "edges" else None)
    return tuple(found)


def touch(model: Model, c: Candidates, frames: Frames | Bodies) -> Touch:
    """Gaps, touching points and normals at these link poses."""
    bodies = _bodies(frames)
    parts = [planes.touch(model, c.planes, bodies.second), *_pair_touches(model, c, bodies)]
    return Touch(*(_arranged(model.topology, list(field)) for field in zip(*parts, strict=True)))


def _pair_touches(model: Model, c: Candidates, bodies: Bodies) -> list[Touch]:
    settled = _settled(model, bodies, bodies) if c.pairs is None else c.pairs
    found = []
    for group, at in zip(_pair_groups(model.topology), settled, strict=True):
        match at:
            case Facets():
                found.append(boxes.touch(model, group, at, bodies))
            case Edges():
                found.append(rounded.on_edges(model, group, at, bodies))
            case None:
                kind = rounded.closest if group.kind == "closest" else rounded.capsules
                found.append(kind(model, group, bodies))
    return found


@functools.lru_cache(maxsize=64)
def _pair_groups(topology: Topology) -> tuple[ContactGroup, ...]:
    """The groups of pairs of bodies."""
    return tuple(g for g in topology.contacts if not g.with_plane)


def _arranged(topology: Topology, parts: list[Array]) -> Array:
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
    return np.concatenate([np.full(len(g), g.with_plane) for g in topology.contacts])


def contact_links(model: Model) -> np.ndarray:
    """Links of the first and second body of each candidate, -1 the world: (2, nc)."""
    return model.topology.geom_link[contact_geoms(model.topology).T]


def contact_moves(model: Model) -> Array:
    """How a degree of freedom moves the second body against the first: 1, 0 or -1, (nv, nc)."""
    moves = model.topology.moves.astype(int)
    first, second = contact_links(model)
    return jnp.asarray((moves[second] - moves[first]).T, model.dtype)


def _friction(model: Model) -> Array:
    """Coefficients after MuJoCo's combination rule; floored, the cone needs an interior."""
    first, second, rule, pair = (
        np.concatenate([np.zeros(0, int), *[getattr(g, field).repeat(g.rows) for g in groups]])
        for groups in [[g for g in model.topology.contacts if g.frictional]]
        for field in ("first", "second", "friction_rule", "pair")
    )
    a, b = model.geom_friction[first], model.geom_friction[second]
    mu = jnp.where(rule == 0, jnp.maximum(a, b), jnp.where(rule == 1, a, b))
    if len(model.pair_friction):
        mu = jnp.where(pair >= 0, model.pair_friction[np.maximum(pair, 0)], mu)
    return jnp.maximum(mu, 1e-8)


def tangent_frame(normal: Array) -> Array:
    """Columns n, t1, t2 for normals (3, n), as MuJoCo chooses them: (3, 3, n)."""
    upright = jnp.abs(normal[1]) < 0.5
    one, zero = jnp.ones_like(normal[0]), jnp.zeros_like(normal[0])
    guide = jnp.where(upright, jnp.stack([zero, one, zero]), jnp.stack([zero, zero, one]))
    t1 = guide - normal * dot(normal, guide)
    t1 = t1 / jnp.sqrt(at_least(dot(t1, t1), 0.1))
    return jnp.stack([normal, t1, cross(normal, t1)], axis=1)


def contact_points(at: Touch) -> Array:
    """Midpoints between the two surfaces, (3, nc): where impulses act."""
    return at.point - 0.5 * at.gap * at.normal


def screws(point: Array, direction: Array) -> Array:
    """World wrenches (6, ...) of unit forces along `direction` at `point`, about the origin."""
    return jnp.concatenate([cross(point, direction), direction])
