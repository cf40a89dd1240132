"""The shortest way between two points round a sphere or a cylinder.

Across the axis of a cylinder, or in the plane of the points and a sphere's centre, the way is two
tangents of a circle and the arc between them; along the axis it rises evenly.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import at_least, cross, dot, eye, matvec, safe_norm, transpose
from dojo.physics.kinematics import Frames


class Way(NamedTuple):
    """Length of a way, and its unit directions at both ends."""

    length: Array  # (n,) [m]
    start: Array  # (3, n) world
    end: Array  # (3, n)

    @classmethod
    def straight(cls, a: Array, b: Array) -> "Way":
        """From a to b, (3, n) each; where they coincide there is no direction."""
        length = safe_norm(b - a)
        direction = (b - a) / at_least(length)
        return cls(length, direction, direction)


class Obstacle(NamedTuple):
    """Spheres and cylinders, and the side of them that a way takes."""

    frame: Frames  # (n)
    radius: Array  # (n,) [m]
    round_axis: Array  # (n,) bool: cylinders
    side: Array  # (3, n) world, a point on the side to take
    sided: Array  # (n,) bool; else the shorter way is taken


def way_round(a: Array, b: Array, obstacle: Obstacle) -> Way:
    """The way from a to b (3, n), straight where the obstacle is not in it."""
    rot, center, r = obstacle.frame.rot, obstacle.frame.pos, obstacle.radius
    a_in, b_in, side_in = (matvec(transpose(rot), x - center) for x in (a, b, obstacle.side))
    one, other, axis = _basis(a_in, b_in, obstacle.round_axis)
    p, q, side = (jnp.stack([dot(x, one), dot(x, other)]) for x in (a_in, b_in, side_in))
    outside = jnp.minimum(dot(p, p), dot(q, q)) > r * r
    # Somewhere outside, for those that the way of circle and tangents is not for.
    p, q = (jnp.where(outside, x, 2 * r * eye(x.dtype, 2)[:, k, None]) for k, x in ((0, p), (1, q)))
    before, after = _tangent(p, r), _tangent(q, r)
    turn = jnp.arctan2(p[0] * q[1] - p[1] * q[0], dot(p, q))
    sense = jnp.where(turn < 0, -1.0, 1.0)
    arc = jnp.abs(turn) - before.angle - after.angle
    touches = arc > 0
    long_way = 2 * jnp.pi - jnp.abs(turn) - before.angle - after.angle
    clear = ~touches & (dot(_nearest(p, q), side) >= 0)
    other_side = dot(_middle(p, sense, before, arc), side) < dot(
        _middle(p, -sense, before, long_way), side
    )
    changed = obstacle.sided & (other_side | ~touches)
    sense, arc = jnp.where(changed, -sense, sense), jnp.where(changed, long_way, arc)
    wraps = outside & jnp.where(obstacle.sided, ~clear, touches)
    flat = before.length + jnp.where(wraps, arc, 0.0) * r + after.length
    rise = dot(b_in - a_in, axis)
    length = safe_norm(jnp.stack([flat, rise]))

    def direction(along: Array) -> Array:
        planar = along[0] * one + along[1] * other
        return matvec(rot, (flat * planar + rise * axis) / at_least(length))

    ends = _along(p, sense, before), _along(q, sense, after, back=True)
    curved = Way(length, direction(ends[0]), direction(ends[1]))
    direct = Way.straight(a, b)
    return Way(*(jnp.where(wraps, x, y) for x, y in zip(curved, direct, strict=True)))


class _Tangent(NamedTuple):
    """The tangent from a point to the circle: its length, and the angle it takes there."""

    length: Array
    angle: Array


def _tangent(p: Array, r: Array) -> _Tangent:
    square = at_least(dot(p, p) - r * r, 1e-12 * r * r)
    length = jnp.sqrt(square)
    return _Tangent(length, jnp.arctan2(length, r))


def _basis(a: Array, b: Array, round_axis: Array) -> tuple[Array, Array, Array]:
    """Two axes (3, n) of the circle's plane, and the axis along which a way may rise."""
    x, y, z = (eye(a.dtype, 3)[:, k, None] * jnp.ones_like(a) for k in range(3))
    one = a / at_least(safe_norm(a))
    rest = b - dot(b, one) * one
    # Opposite points leave the plane open: any will do.
    least = jnp.argmin(jnp.abs(one), axis=0) == jnp.arange(3)[:, None]
    any_other = cross(one, least.astype(a.dtype))
    level = safe_norm(rest) > 1e-9 * safe_norm(b)
    rest = jnp.where(level, rest, any_other)
    other = rest / at_least(safe_norm(rest))
    return (
        jnp.where(round_axis, x, one),
        jnp.where(round_axis, y, other),
        jnp.where(round_axis, z, jnp.zeros_like(z)),
    )


def _nearest(p: Array, q: Array) -> Array:
    """The point of the segment between p and q (2, n) that is nearest to the origin."""
    along = q - p
    t = jnp.clip(-dot(p, along) / at_least(dot(along, along)), 0.0, 1.0)
    return p + t * along


def _turned(p: Array, angle: Array) -> Array:
    """p (2, n) turned counterclockwise."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * p[0] - s * p[1], s * p[0] + c * p[1]])


def _middle(p: Array, sense: Array, before: _Tangent, arc: Array) -> Array:
    """Direction (2, n) of the middle between the ends of an arc that the tangent from p leads to.

    MuJoCo's measure of a side: of more than half a circle it is not where the arc is.
    """
    unit = p / at_least(safe_norm(p))
    half = 0.5 * arc
    return jnp.sign(jnp.cos(half)) * _turned(unit, sense * (before.angle + half))


def _along(p: Array, sense: Array, tangent: _Tangent, back: bool = False) -> Array:
    """Direction of travel (2, n) on the tangent at p, the arc's first one or its last."""
    unit = p / at_least(safe_norm(p))
    at = _turned(unit, -sense * tangent.angle if back else sense * tangent.angle)
    return sense * jnp.stack([-at[1], at[0]])
