"""What of a convex geom lies over a face of another, and touches it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import dot
from dojo.physics import manifold, rims
from dojo.physics.features import Features, Normals, Side, beside, where
from dojo.physics.solids import RIM, Solid

# A cylinder whose axis is within this cosine of a face's normal stands on it, else it lies.
_STANDS = 0.7


class Chosen(NamedTuple):
    """A face of two geoms, (n,) each."""

    by_face: Array  # bool: it parts the geoms best
    face: Array  # int: the first geom's faces first
    nearest: Array  # bool: as far as that is their distance, but for a tie


class _Back(NamedTuple):
    """What of a geom looks back at a face."""

    ring: Array  # (3, K, n) world
    low: Array  # (3, 1, n) what of it lies lowest, world
    rim: Array  # (2, 1, n) where that is on a rim: from its centre
    # What stands for the corners of the ring: points beside them, with an ellipsoid and a ball.
    shift: Array  # (3, 1, n) world
    spread: Array  # (3, 1, n)
    radius: Array  # (1, n)
    flat: Array  # (n,) bool: a face, else a segment


def over_face(
    one: Solid, two: Solid, chosen: Chosen, last: Features, near: Array, count: int
) -> Features:
    """What lies over the chosen faces.

    Up to `count` corners of what both cover, within `near` (n,); then what lies lowest or, if it is
    not that face that parts the geoms, `last`.
    """
    by_face, face, nearest = chosen
    of_first = face < len(one.has_face)
    own, other = (
        jax.tree.map(lambda x, y: jnp.where(of_first, x, y), *pair)
        for pair in ((one, two), (two, one))
    )
    index = jnp.where(of_first, face, face - len(one.has_face))
    normal = jnp.take_along_axis(own.normals, index[None, None], axis=1)
    way = own.outwards(normal)
    back, ring = _facing(other, -way, near), _ring(own, index)
    plane = manifold.Plane.of(ring, way[:, 0])
    middle = plane.inwards(own.pose.pos[:, None])[:2, 0]
    ground = manifold.Face(plane.inwards(ring), middle, own.spread[0], near)
    found = manifold.overlap(plane, ground, back.ring, back.flat, by_face, count)

    def against(point: Array, height: Array, there: Array, rim: Array) -> Features:
        """Points (3, k, n) of what looks back, world, at a height over the face."""
        none, no = jnp.zeros_like(point), jnp.zeros(point.shape[1:], bool)
        below = own.inwards(point - height * way - own.pose.pos[:, None])
        above = other.inwards(point + back.shift - other.pose.pos[:, None])
        base = Side(below, none, none[0], none[:2], none)
        over = Side(above, back.spread + none, back.radius + none[0], rim + none[:2], none)
        first, second = (
            jax.tree.map(lambda x, y: jnp.where(of_first, x, y), *pair)
            for pair in ((base, over), (over, base))
        )
        n1, n2 = jnp.where(of_first, normal, none), jnp.where(of_first, none, -normal)
        return Features(Normals(n1, n2, none, none), no, first, second, ~of_first | no, ~there)

    # Bodies that are apart otherwise have nothing below the face.
    there = found.there & (by_face | (found.height > -near))
    at = against(found.point, found.height, there, jnp.zeros_like(back.rim))
    off, height = found.point - back.low, plane.inwards(back.low)[2]
    twice = (there & (dot(off, off) < near**2)).any(axis=0)
    # The nearest point may lie a hair beside the face. What has sunk in comes out by its lowest.
    meets = ground.has(plane.inwards(back.low)[:2]) | nearest | (height < -near)
    return beside(at, where(by_face, against(back.low, height, meets & ~twice, back.rim), last))


def _facing(solid: Solid, direction: Array, near: Array) -> _Back:
    """What looks in a direction (3, 1, n): of those at the furthest corner, the face."""
    m = solid.inwards(direction)
    best = jnp.argmax(dot(m, solid.core), axis=0)
    core = jnp.take_along_axis(solid.core, best[None, None], axis=1)
    on_it = dot(solid.normals, core) >= solid.reach(solid.normals) - near
    cosine = jnp.where(solid.has_face & on_it, dot(solid.normals, m), -2.0)
    is_rim = solid.spread[0] > 0
    flat = solid.has_face.any(axis=0) & ~(is_rim & (cosine.max(axis=0) < _STANDS))
    rim = solid.spread[:2, None] * rims.extreme(m)
    reach = rims.on_rim(rim)
    # The line along the side of a cylinder: from its axis as far as it reaches.
    shift = jnp.where(flat, 0.0, -reach)
    a, b = (x[:, :1] for x in solid.ends)
    segment = jnp.concatenate([a, *[b] * (len(solid.faces) - 1)], axis=1) - shift
    segment, low = (solid.pose.pos[:, None] + solid.outwards(x) for x in (segment, core + reach))
    return _Back(
        ring=jnp.where(flat, _ring(solid, jnp.argmax(cosine, axis=0)), segment),
        low=low,
        rim=jnp.where(flat, rim, 0.0),
        shift=solid.outwards(shift),
        spread=jnp.where(flat, 0.0, solid.spread)[:, None],
        radius=jnp.where(flat, 0.0, solid.radius)[None],
        flat=flat,
    )


def _ring(solid: Solid, face: Array) -> Array:
    """Corners of faces by index (n,), world: (3, K, n)."""
    places = jnp.take_along_axis(solid.faces, face[None, None], axis=1)[:, 0]
    corners = jnp.take_along_axis(solid.core, places[None], axis=1)
    # The caps of a cylinder, the upper one first.
    steps = np.minimum(np.arange(len(places)), RIM - 1)[:, None]
    angle = jnp.asarray(2 * np.pi / RIM * steps, corners.dtype) * jnp.where(face == 0, 1.0, -1.0)
    turn = jnp.stack([jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)])
    return solid.pose.pos[:, None] + solid.outwards(corners + solid.spread[:1, None] * turn)
