"""Drag of a medium on bodies that are boxes to it: MuJoCo's model.

Along each axis of a box and about it, forces and torques are viscous (those of a sphere of the mean
side) and of the square of the speed (the pressure on the faces). The speed that multiplies is that
at the start of the step, the one multiplied that of the step: dissipative at any density.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import contract, cross, matvec_t
from dojo.model.model import Model
from dojo.physics.kinematics import Frames, attached


class Drag(NamedTuple):
    """Generalized force `rows^T (resistance (wind - rows v))`."""

    rows: Array  # (6 k, nv) speeds of the boxes along their axes, about them, and of each
    resistance: Array  # (6 k,)
    wind: Array  # (6 k,) of the medium along the rows


def drag(model: Model, frames: Frames, axes: Array, v: Array) -> Drag:
    """The drag at velocity v; frames and motion axes (6, nv) are those at the start of a step."""
    link = model.topology.fluid_link
    none = jnp.zeros(0, model.dtype)
    if not len(link):
        return Drag(jnp.zeros((0, model.nv), model.dtype), none, none)
    at = attached(model, frames, link, model.fluid_pos, model.fluid_quat)
    moved = jnp.asarray(model.topology.moves[link], model.dtype)
    rows = [_along(axes, at, i) * moved for i in range(3)]
    rows += [contract(at.rot[:, i].T, axes[:3]) * moved for i in range(3)]
    wind = [*matvec_t(at.rot, model.fluid_wind[:, None]), *jnp.zeros((3, len(link)), v.dtype)]
    along, still = jnp.concatenate(rows), jnp.concatenate(wind)
    speed = jnp.abs(contract(along, v) - still)
    slow, fast = _coefficients(model)
    return Drag(along, slow + fast * speed, still)


def _along(axes: Array, at: Frames, i: int) -> Array:
    """Speeds of the boxes' centres along their i-th axes, for each degree of freedom: (k, nv)."""
    axis = at.rot[:, i]
    screw = jnp.concatenate([cross(at.pos, axis), axis])
    return contract(screw.T, axes)


def _coefficients(model: Model) -> tuple[Array, Array]:
    """What multiplies the speed, and the square of it: (6 k,) each."""
    a, b, c = model.fluid_box.T
    size = (a + b + c) / 3.0
    density, viscosity = model.fluid_density, model.fluid_viscosity
    push = 3.0 * jnp.pi * viscosity * size
    turn = jnp.pi * viscosity * size**3
    slow = jnp.concatenate([push, push, push, turn, turn, turn])
    faces = 0.5 * density * jnp.stack([b * c, a * c, a * b])
    spins = jnp.stack([a * (b**4 + c**4), b * (a**4 + c**4), c * (a**4 + b**4)])
    return slow, jnp.concatenate([*faces, *(density / 64.0 * spins)])
