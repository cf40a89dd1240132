"""Rotations: unit quaternions (4, ...) in the order w x y z, matrices (3, 3, ...).

Component first. `q` maps body coordinates to the world; a right factor is a body-frame rotation.
"""

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import at_least, cross, dot, eye, safe_norm


def normalize(q: Array) -> Array:
    """Unit quaternion; its derivative along `q` is zero. A zero quaternion becomes the identity."""
    square = dot(q, q)
    zero = square == 0  # and not "not positive": a NaN must stay one
    scale = 1.0 / jnp.sqrt(jnp.where(zero, 1.0, square))
    return jnp.where(zero, eye(q.dtype, 4, 1).reshape(4, *[1] * (q.ndim - 1)), q * scale)


def multiply(a: Array, b: Array) -> Array:
    """Hamilton product."""
    scalar = a[0] * b[0] - dot(a[1:], b[1:])
    vector = a[0] * b[1:] + b[0] * a[1:] + cross(a[1:], b[1:])
    return jnp.concatenate([scalar[None], vector])


def conjugate(q: Array) -> Array:
    """Inverse of a unit quaternion."""
    return jnp.concatenate([q[:1], -q[1:]])


def to_matrix(q: Array) -> Array:
    """Rotation matrix of a unit quaternion."""
    w, x, y, z = q
    return jnp.stack(
        [
            jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            jnp.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )


def from_matrix(m: Array) -> Array:
    """Unit quaternion of a rotation matrix, its scalar part not negative."""
    (a, b, c), (d, e, f), (g, h, i) = m
    # Four times the products of each component with all of them; the largest one is divided by.
    rows = jnp.stack(
        [
            jnp.stack([1 + a + e + i, h - f, c - g, d - b]),
            jnp.stack([h - f, 1 + a - e - i, b + d, c + g]),
            jnp.stack([c - g, b + d, 1 - a + e - i, f + h]),
            jnp.stack([d - b, c + g, f + h, 1 - a - e + i]),
        ]
    )
    largest = jnp.argmax(jnp.stack([rows[k, k] for k in range(4)]), axis=0)
    q = normalize(jnp.take_along_axis(rows, largest[None, None], axis=0)[0])
    return jnp.where(q[0] < 0, -q, q)


def cayley(y: Array) -> Array:
    """Quaternion (1, y) / |(1, y)|: the rotation about y by 2 atan |y|."""
    scale = 1.0 / jnp.sqrt(1.0 + dot(y, y))
    return jnp.concatenate([scale[None], y * scale])


def cayley_vector(relative: Array) -> Array:
    """y with `relative` = matrix of cayley(y); about a half turn rounding keeps it finite."""
    axial = jnp.stack(
        [
            relative[2, 1] - relative[1, 2],
            relative[0, 2] - relative[2, 0],
            relative[1, 0] - relative[0, 1],
        ]
    )
    rounding = 8 * float(jnp.finfo(relative.dtype).eps)
    trace = relative[0, 0] + relative[1, 1] + relative[2, 2]
    return axial / at_least(1.0 + trace, rounding)


def exponential(rotation: Array) -> Array:
    """Quaternion of a rotation vector (axis times angle, rad)."""
    angle = safe_norm(rotation)
    small = angle < 1e-4
    safe = at_least(angle, 1e-4)
    # sin(a/2)/a to fourth order: the quotient loses digits near zero.
    ratio = jnp.where(small, 0.5 - angle**2 / 48.0, jnp.sin(0.5 * safe) / safe)
    return jnp.concatenate([jnp.cos(0.5 * angle)[None], ratio * rotation])


def logarithm(q: Array) -> Array:
    """Rotation vector of a unit quaternion, with an angle of at most pi."""
    q = jnp.where(q[0] < 0, -q, q)
    sine = safe_norm(q[1:])
    small = sine < 1e-4
    safe = at_least(sine, 1e-4)
    ratio = jnp.where(small, 2.0 + sine**2 / 3.0, 2.0 * jnp.arctan2(safe, q[0]) / safe)
    return ratio * q[1:]
