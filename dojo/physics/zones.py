"""Zones of touch sensors: whether a ray meets a sphere, capsule, ellipsoid, cylinder or box.

Each is what intervals of the ray have in common: those within a slab, a ball, a cylinder.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import dot


class _Interval(NamedTuple):
    """Where along rays something holds; empty if it ends before it begins."""

    start: Array
    end: Array

    def __and__(self, other: "_Interval") -> "_Interval":
        return _Interval(jnp.maximum(self.start, other.start), jnp.minimum(self.end, other.end))

    @property
    def ahead(self) -> Array:
        """Whether some of it is not behind the start of the ray."""
        return (self.end >= self.start) & (self.end >= 0)


def ray_meets(zone: tuple[str, tuple[float, ...]], start: Array, way: Array) -> Array:
    """Whether rays from `start` (3, n) along `way` (3, n) meet a zone, in its frame: (n,).

    One that starts within does.
    """
    shape, (x, y, z) = zone
    if shape == "sphere":
        return _ball(start, way, x).ahead
    if shape == "ellipsoid":
        size = jnp.array([[x], [y], [z]], start.dtype)
        return _ball(start / size, way / size, 1.0).ahead
    if shape == "box":
        slabs = [_slab(start[k], way[k], half) for k, half in enumerate((x, y, z))]
        return (slabs[0] & slabs[1] & slabs[2]).ahead
    met = (_ball(start[:2], way[:2], x) & _slab(start[2], way[2], y)).ahead
    if shape == "cylinder":
        return met
    up = jnp.array([[0.0], [0.0], [y]], start.dtype)
    return met | _ball(start - up, way, x).ahead | _ball(start + up, way, x).ahead


def _slab(start: Array, way: Array, half: float) -> _Interval:
    """Where |start + t way| <= half."""
    still = way == 0
    speed = jnp.where(still, 1.0, way)
    ends = jnp.stack([(-half - start) / speed, (half - start) / speed])
    return _everywhere_if(still, jnp.abs(start) <= half, _Interval(ends.min(0), ends.max(0)))


def _ball(start: Array, way: Array, radius: float) -> _Interval:
    """Where |start + t way| <= radius, in two or three dimensions."""
    square, along = dot(way, way), dot(start, way)
    still = square == 0
    square = jnp.where(still, 1.0, square)
    off = dot(start, start) - radius * radius
    left = along * along - square * off
    root = jnp.sqrt(jnp.maximum(left, 0.0))
    met = _Interval((-along - root) / square, (-along + root) / square)
    met = _Interval(met.start, jnp.where(left < 0, -jnp.inf, met.end))
    return _everywhere_if(still, off <= 0, met)


def _everywhere_if(still: Array, inside: Array, met: _Interval) -> _Interval:
    """The interval, but for rays that do not move here: all of them, or nothing."""
    start = jnp.where(still, jnp.where(inside, -jnp.inf, jnp.inf), met.start)
    return _Interval(start, jnp.where(still, jnp.where(inside, jnp.inf, -jnp.inf), met.end))
