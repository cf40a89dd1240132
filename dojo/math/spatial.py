"""Spatial vectors (6, ...) about the world origin: twists, angular part first, and wrenches.

Featherstone, Rigid Body Dynamics Algorithms, section 2.9.
"""

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import cross, skew


def motion_cross(a: Array, b: Array) -> Array:
    """Rate of a twist b that moves along with the twist a."""
    return jnp.concatenate([cross(a[:3], b[:3]), cross(a[:3], b[3:]) + cross(a[3:], b[:3])])


def force_cross(a: Array, f: Array) -> Array:
    """Rate of a wrench f that moves along with the twist a. (b x a) . f = b . (a x* f)."""
    return jnp.concatenate([cross(a[:3], f[:3]) + cross(a[3:], f[3:]), cross(a[:3], f[3:])])


def motion_matrix(b: Array) -> Array:
    """Matrices (6, 6, ...) of a -> motion_cross(a, b)."""
    turn, place = -skew(b[:3]), -skew(b[3:])
    return _blocks(turn, jnp.zeros_like(turn), place, turn)


def force_matrix(f: Array) -> Array:
    """Matrices (6, 6, ...) of a -> force_cross(a, f)."""
    torque, force = -skew(f[:3]), -skew(f[3:])
    return _blocks(torque, force, force, jnp.zeros_like(force))


def _blocks(a: Array, b: Array, c: Array, d: Array) -> Array:
    upper, lower = jnp.concatenate([a, b], axis=1), jnp.concatenate([c, d], axis=1)
    return jnp.concatenate([upper, lower])
