"""Step lengths to the boundary of the cones, in closed form."""

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import dot, safe_norm


def orthant_step(x: Array, dx: Array) -> Array:
    """Largest a with x + a dx >= 0 for each entry; infinite where nothing bounds it."""
    leaving = dx < 0
    return jnp.where(leaving, -x / jnp.where(leaving, dx, -1.0), jnp.inf)


def cone_step(x0: Array, x: Array, d0: Array, d: Array) -> Array:
    """Largest a with (x0, x) + a (d0, d) in the second-order cone, for x inside it.

    Shapes: x0, d0 (...); x, d (2, ...). The smallest positive root of
    c + 2 b a + a2 a^2 with c = x0^2 - |x|^2 > 0, in the form that does not cancel.
    """
    size = safe_norm(x)
    c = (x0 - size) * (x0 + size)
    b = x0 * d0 - dot(x, d)
    a2 = d0 * d0 - dot(d, d)
    disc = b * b - a2 * c
    denominator = jnp.sqrt(jnp.maximum(disc, 0.0)) - b
    leaving = (disc >= 0) & (denominator > 0)
    return jnp.where(leaving, c / jnp.where(leaving, denominator, 1.0), jnp.inf)


def interior_margin(x0: Array, x: Array) -> Array:
    """Distance of (x0, x) to the boundary of the second-order cone, up to a factor sqrt 2."""
    return x0 - safe_norm(x)
