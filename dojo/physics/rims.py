"""Rims of cylinders: the arc that a step can touch with.

For a step a rim is its arc within REACH of the point that is extreme at the step's start. The arc
stays with the body: a rim that passes through flat within the step comes down on its corners, as a
box does, and not at a point that ran to the other side.
"""

import math

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import SMALL, at_least, safe_norm

# Half width [rad] of the arc of a rim that a step can touch with: rims that turn less within a
# step do not penetrate. Within BLUNT of standing flat [rad] the arc shrinks into the centre.
REACH, BLUNT = 0.2, 0.01


def extreme(m: Array) -> Array:
    """Azimuth (2, ...) of m (3, ...).

    Shrunk within BLUNT by t^2 (6 - 8 t + 3 t^2), t = |m_xy| / BLUNT.
    """
    s = safe_norm(m[:2])
    t = jnp.minimum(s / BLUNT, 1.0)
    blunt = t < 1
    return m[:2] * jnp.where(blunt, t * (6 - t * (8 - 3 * t)) / BLUNT, 1 / at_least(s, BLUNT))


def on_rim(middle: Array) -> Array:
    """Points (3, ...) of (2, ...) in the plane of the rim."""
    return jnp.concatenate([middle, jnp.zeros_like(middle[:1])])


def on_arc(middle: Array, m: Array) -> Array:
    """The extreme point (3, ...) along m of the arc within REACH of `middle` (2, ...) [m]."""
    radius = safe_norm(middle)
    u = middle / at_least(radius, SMALL)
    x, y = u[0] * m[0] + u[1] * m[1], u[0] * m[1] - u[1] * m[0]
    s = safe_norm(m[:2])
    inside = (x >= math.cos(REACH) * s) & (s > 0)
    length = at_least(s)
    cosine = jnp.where(inside, x / length, math.cos(REACH))
    sine = jnp.where(inside, y / length, jnp.where(y < 0, -math.sin(REACH), math.sin(REACH)))
    return radius * on_rim(jnp.stack([u[0] * cosine - u[1] * sine, u[1] * cosine + u[0] * sine]))
