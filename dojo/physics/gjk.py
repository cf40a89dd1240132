"""Directions from one convex geom to the nearest point of another.

The iteration of Gilbert, Johnson, Keerthi (IEEE J. Robotics and Automation 4, 1988): the point
nearest to the origin of a simplex in the difference of the geoms gives the direction in which to
look for its next corner. The geoms are taken a little smaller than they are, so that there is a
direction also where they touch, and smaller still where they overlap.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import at_least, cross, dot, safe_norm, total
from dojo.physics.solids import Solid

# The geoms are scaled about the origins of their frames, at first by this. While they overlap, by
# so many times as much as before: the direction where they just part is that of the least overlap.
# And by this factor where they are already smaller.
_SHRUNK, _TIMES, _MORE = 0.999, 4.0, 0.7
_LIMIT = 64
# Features of a simplex by its four corners.
_EDGES = np.array(list(itertools.combinations(range(4), 2))).T
_TRIANGLES = np.array(list(itertools.combinations(range(4), 3))).T


class _Search(NamedTuple):
    corners: Array  # (3, 4, n) of a simplex in the difference: second geom less first
    share: Array  # (4, n) of the corners in its nearest point
    scale: Array  # (n,) of the geoms
    done: Array  # (n,)
    steps: Array  # ()


def direction(one: Solid, two: Solid) -> Array:
    """Unit vectors (3, n) from the first geoms to the second ones.

    Where they overlap, those of geoms scaled down until they are apart.
    """
    one, two = (lax.stop_gradient(s) for s in (one, two))
    # Near the origin rounding is small.
    origin = two.pose.pos - one.pose.pos

    def corner(towards: Array, scale: Array) -> Array:
        return origin + scale * (_extreme(two, -towards) - _extreme(one, towards))

    def more(s: _Search) -> Array:
        return (s.steps < _LIMIT) & ~s.done.all()

    def refined(s: _Search) -> _Search:
        near = total(s.corners * s.share[None], axis=1)
        found = corner(near, s.scale)
        square, along = dot(near, near), dot(near, found)
        slot = jnp.arange(4)[:, None] == jnp.argmin(s.share, axis=0)
        corners = jnp.where(slot, found[:, None], s.corners)
        share = _nearest(corners)
        closer = total(corners * share[None], axis=1)
        # Not `square` times eps: near geoms that touch, most of that is rounding.
        rounding = 8 * jnp.finfo(near.dtype).eps * jnp.sqrt(square * _furthest(corners))
        ended = square - along <= rounding
        ended = ended | (dot(closer, closer) >= square - rounding)
        overlap, done = ended & (along <= 0), s.done | ended & (along > 0)
        scale = jnp.maximum(1 - _TIMES * (1 - s.scale), _MORE * s.scale)
        smaller = origin[:, None] + scale / s.scale * (s.corners - origin[:, None])
        return _Search(
            jnp.where(ended, jnp.where(overlap & ~done, smaller, s.corners), corners),
            jnp.where(ended, s.share, share),
            jnp.where(overlap & ~done, scale, s.scale),
            done,
            s.steps + 1,
        )

    whole = jnp.full_like(origin[0], _SHRUNK)
    start = corner(origin, whole)
    first = (jnp.arange(4)[:, None] == 0) * jnp.ones_like(start[:1])
    corners = jnp.broadcast_to(start[:, None], (3, 4, start.shape[-1]))
    still = jnp.zeros(start.shape[-1], bool)
    found = lax.while_loop(more, refined, _Search(corners, first, whole, still, jnp.asarray(0)))
    near = total(found.corners * found.share[None], axis=1)
    length = safe_norm(near)
    aside = length <= 16 * jnp.finfo(near.dtype).eps * (one.bound + two.bound)
    way = jnp.where(aside, origin, near)
    up = jnp.asarray([[0.0], [0.0], [1.0]], near.dtype)
    way = jnp.where((way == 0).all(axis=0), up, way)
    return way / at_least(safe_norm(way))


def _furthest(corners: Array) -> Array:
    """Squared distance (n,) of the corner of a simplex that is furthest from the origin."""
    return dot(corners, corners).max(axis=0)


def _extreme(s: Solid, towards: Array) -> Array:
    """The point (3, n) of a geom without its ball that lies furthest, from its origin."""
    m = s.inwards(towards[:, None])[:, 0]
    best = jnp.argmax(dot(m[:, None], s.core), axis=0)
    core = jnp.take_along_axis(s.core, best[None, None], axis=1)[:, 0]
    stretched = s.spread * m
    core = core + s.spread * stretched / at_least(safe_norm(stretched))
    return s.outwards(core[:, None])[:, 0]


def _nearest(corners: Array) -> Array:
    """Shares (4, n) of the corners of a simplex in its point nearest to the origin."""
    a, b = (corners[:, k] for k in _EDGES)
    run = b - a
    t = jnp.clip(-dot(a, run) / at_least(dot(run, run)), 0.0, 1.0)
    edge = a + t * run
    on_edges = _spread([1 - t, t], _EDGES)
    a, b, c = (corners[:, k] for k in _TRIANGLES)
    normal = cross(b - a, c - a)
    area = dot(normal, normal)
    weights = [dot(cross(p, q), normal) / at_least(area) for p, q in ((b, c), (c, a), (a, b))]
    inside = jnp.stack(weights).min(axis=0) > 0
    size = jnp.maximum(dot(b - a, b - a), dot(c - a, c - a))
    inside = inside & (area > 64 * jnp.finfo(area.dtype).eps * size * size)
    height = dot(a, normal)
    far = jnp.where(inside, height * height / at_least(area), jnp.inf)
    square = jnp.concatenate([dot(edge, edge), far])
    shares = jnp.concatenate([on_edges, _spread(weights, _TRIANGLES)], axis=1)
    best = jnp.argmin(square, axis=0)
    return jnp.take_along_axis(shares, best[None, None], axis=1)[:, 0]


def _spread(weights: list[Array], places: np.ndarray) -> Array:
    """Weights (k, n) of the corners of each feature as shares of all four: (4, k, n)."""
    hot = np.arange(4)[:, None, None] == places  # (4, corner, k)
    return total(hot[..., None] * jnp.stack(weights)[None], axis=1)
