"""Which of the features of two geoms a step holds apart.

A feature is judged by where the geoms are now and by where they would be later. Both are evaluated
at once, side by side along the last axis: half the program to compile.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.physics.kinematics import Frames
from dojo.physics.solids import Solid

_T = TypeVar("_T")


def both(now: _T, later: _T) -> _T:
    """Arrays (..., n) of both times: (..., 2 n)."""
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), now, later)


def at_both(geoms: tuple[Solid, Solid], later: tuple[Frames, Frames]) -> tuple[Solid, Solid]:
    """Geoms where they are, and beside, where they would be later."""
    one, two = (
        both(solid, solid._replace(pose=pose)) for solid, pose in zip(geoms, later, strict=True)
    )
    return one, two


def best_parting(gaps: Array, near: Array, faces: int) -> Array:
    """What (n,) parts two geoms best, by their distances (k, 2 n) along it, faces first.

    Of what parts them now, what would do so most later, so that a body that passes another is not
    stopped; if nothing does, what they overlap least along. What is not a face must do so by
    `near` (n,) more than a face, and each by as much more than those before.
    """
    gaps, later = jnp.split(gaps, 2, axis=-1)
    rank = np.maximum(0, np.arange(len(gaps)) - faces + 1)[:, None]
    apart = gaps > 0
    score = jnp.where(apart, later, jnp.where(apart.any(axis=0), -jnp.inf, gaps))
    return jnp.argmax(score - rank * near, axis=0)


def most_behind(others: int) -> int:
    """How many `near` a face may be behind the best of so many others, and be chosen."""
    return others + 1
