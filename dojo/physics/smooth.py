"""Spheres and ellipsoids against any convex geom: one place where they touch.

The second geom is round all over. The first touches it with a face, an edge or a corner, chosen at
the start of a step. Corners and edges may themselves be round: the rim of a cylinder is a disc
about the end of its axis, a capsule an edge with a ball about it, an ellipsoid a corner.

On a face the gap is how far the second geom is apart along the normal of that face. Else it is the
distance of the two features: the largest of how far they are apart along a direction, across the
edge if it is one. Both are exact at any pose.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, dot, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics import gjk
from dojo.physics.choice import at_both, best_parting, both
from dojo.physics.distance import Terms, further, furthest, reach, separation, settled
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import (
    Bodies,
    Pairs,
    Touch,
    inwards,
    not_beyond_reach,
    outwards,
    placed,
    rows_of,
)
from dojo.physics.solids import Solid, solids
from dojo.physics.spots import corner_along, edge_along
from dojo.physics.terrain import triangles

# Newton steps for a normal: from the direction between the nearest points of shrunk geoms, and from
# the normal at the start of the step. They double the digits each.
_SEARCH, _STEPS = 15, 20
# A face bears where it is worse than an edge or a corner by no more than this share of the size.
_ALIKE = 1e-12


class Features(NamedTuple):
    """What of the first geoms may touch the second ones, k of each pair: (..., k, n)."""

    on_face: Array  # (k, n) bool
    normal: Array  # (3, k, n) of the face, in the first geom's frame, else at the start, world
    line: Array  # (3, k, n) unit direction of the edge, in the first geom's frame; zero: none
    point: Array  # (3, k, n) in the first geom's frame
    spread: Array  # (3, k, n) half axes of the ellipsoid about it
    radius: Array  # (k, n) of the ball about it


class Round(NamedTuple):
    """What a step holds apart of pairs."""

    features: Features  # one of each pair
    spread: Array  # (3, n) half axes of the second geoms
    radius: Array  # (n,) of the balls about these
    bound: Array  # (2, n) radii of spheres round the geoms


def touch(model: Model, pairs: Pairs, held: Round, bodies: Bodies) -> Touch:
    """Gaps, points and normals at these link poses."""
    at, (one, two) = held.features, placed(model, pairs, bodies)
    normal = _normals(held, one, two)
    first = one.pos[:, None] + outwards(one, at.point) + reach(one, at.spread, normal)
    second = two.pos[:, None] + reach(two, held.spread[:, None], -normal) - held.radius * normal
    gap = dot(normal, second - first) - at.radius
    return rows_of(not_beyond_reach(held.bound, one.pos, two.pos, Touch(gap, second, normal)))


def _normals(held: Round, one: Frames, two: Frames) -> Array:
    at, terms = held.features, _terms(held, one, two)
    disc = _from_disc(*lax.stop_gradient((terms, at.normal)))
    free = furthest(terms, settled(terms, _better(terms, disc, at.normal), _STEPS))
    free = _better(terms, _across_disc(terms, free), free)
    return jnp.where(at.on_face, outwards(one, at.normal), free)


def _better(terms: Terms, first: Array, second: Array) -> Array:
    """Those of two normals (3, k, n) along which features are further apart."""
    further_apart = separation(terms, first) > separation(terms, second)
    return jnp.where(further_apart, first, second)


def _is_disc(terms: Terms) -> Array:
    """Whether a disc is about the first points, (k, n)."""
    flat = (terms.spread1[2] == 0) & (terms.spread1[0] > 0)
    return flat & (terms.line == 0).all(axis=0)


def _across_disc(terms: Terms, normal: Array) -> Array:
    """The axes of discs, towards the second points; where there is none, `normal` (3, k, n).

    Over the inside of a disc that is the normal, and what reaches along it has an edge there.
    """
    axis = terms.one.rot[:, 2, None]
    up = jnp.where(dot(axis, terms.off) < 0, -axis, axis)
    return jnp.where(_is_disc(terms), up, normal)


def _from_disc(terms: Terms, normal: Array) -> Array:
    """Directions to the second points from the nearest of a disc; else `normal` (3, k, n)."""
    off, radius = inwards(terms.one, terms.off), terms.spread1[0]
    size = safe_norm(off[:2])
    inside = off[:2] * jnp.minimum(1.0, radius / at_least(size, SMALL))
    way = jnp.concatenate([off[:2] - inside, off[2:]])
    length = safe_norm(way)
    clear = _is_disc(terms) & (length > _ALIKE * terms.size)
    return jnp.where(clear, outwards(terms.one, way / at_least(length, SMALL)), normal)


def _terms(held: Round, one: Frames, two: Frames) -> Terms:
    at = held.features
    return Terms(
        off=(two.pos - one.pos)[:, None] - outwards(one, at.point),
        line=outwards(one, at.line),
        one=one,
        two=two,
        spread1=at.spread,
        spread2=held.spread[:, None],
        size=held.bound[0] + held.bound[1],
    )


def settle(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, ahead: Bodies) -> Round:
    """Choose features for a step from these poses, to about those `ahead`."""
    if pairs.ground is None:
        one = solids(model, group.first, pairs.first, now.first)
    else:
        one = triangles(pairs.ground, placed(model, pairs, now)[0])
    two = solids(model, group.second, pairs.second, now.second)
    bound = jnp.stack([one.bound, two.bound])
    faces = _faces(one)
    others = _corners(one, two, bound)
    every = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=-2), faces, others)
    held = Round(every, two.spread, two.radius, bound)
    # Choices have no derivatives: those of all that is not chosen need not be found.
    best = _chosen(*lax.stop_gradient((held, one, two, placed(model, pairs, ahead))))
    return held._replace(features=jax.tree.map(lambda x: _picked(x, best), every))


def _chosen(held: Round, one: Solid, two: Solid, later: tuple[Frames, Frames]) -> Array:
    """The feature (n,) that parts geoms best."""
    has_edge = one.has_edge.any(axis=0)[None]
    there = jnp.concatenate([one.has_face, has_edge, jnp.ones_like(has_edge)])
    gaps = _separation(both(held, held), *at_both((one, two), later))
    gaps = jnp.where(both(there, there), gaps, -jnp.inf)
    return best_parting(gaps, _ALIKE * (held.bound[0] + held.bound[1]), len(one.has_face))


def _separation(held: Round, one: Solid, two: Solid) -> Array:
    """How far whole geoms are apart along the normals of features: (k, n).

    Less what the features themselves are apart beyond that, where others are in between.
    """
    at, n = held.features, _normals(held, one.pose, two.pose)
    off = dot(n, (two.pose.pos - one.pose.pos)[:, None]) - two.reach(-two.inwards(n))
    m = one.inwards(n)
    feature = dot(m, at.point) + safe_norm(at.spread * m) + at.radius
    gap = off - one.reach(m)
    return jnp.where(dot(n, n) > 0.5, gap - (off - feature - gap), -jnp.inf)


def _picked(x: Array, index: Array) -> Array:
    """One of the features of each pair, by index (n,): (..., 1, n)."""
    shape = index.reshape(*[1] * (x.ndim - 1), -1)
    return jnp.take_along_axis(x, shape, axis=x.ndim - 2)


def _faces(one: Solid) -> Features:
    """The faces of the first geoms, each by a point in its plane."""
    normal = one.normals
    zero, none = jnp.zeros_like(normal), jnp.zeros_like(normal[0])
    point = normal * one.reach(normal)
    return Features(none == 0, normal, zero, point, zero, none)


def _corners(one: Solid, two: Solid, bound: Array) -> Features:
    """The edge and the corner of the first geoms that are nearest to the second ones."""
    # The search has no derivatives; what it finds has those of the geoms.
    still, other, sizes = lax.stop_gradient((one, two, bound))

    def next_normal(_: int, n: Array) -> Array:
        held = Round(_extreme(still, n, other.pose.pos), other.spread, other.radius, sizes)
        return further(_terms(held, still.pose, other.pose), n)

    start = jnp.broadcast_to(gjk.direction(still, other)[:, None], (3, 2, bound.shape[-1]))
    return _extreme(one, lax.fori_loop(0, _SEARCH, next_normal, start), other.pose.pos)


def _extreme(one: Solid, n: Array, other: Array) -> Features:
    """The edge of the first geoms that is furthest along n[:, 0], the corner along n[:, 1].

    Of those alike the nearest to a point `other` (3, n).
    """
    still = lax.stop_gradient(one)
    corner = _picked(one.core, corner_along(still, n[:, 1], other))
    edge = edge_along(still, n[:, 0], other)
    a, b = (_picked(x, edge) for x in one.ends)
    line = (b - a) / at_least(safe_norm(b - a), SMALL)
    return Features(
        on_face=jnp.zeros(n.shape[1:], bool),
        normal=n,
        line=jnp.concatenate([line, jnp.zeros_like(line)], axis=1),
        point=jnp.concatenate([0.5 * (a + b), corner], axis=1),
        spread=jnp.broadcast_to(one.spread[:, None], n.shape),
        radius=jnp.broadcast_to(one.radius, n.shape[1:]),
    )
