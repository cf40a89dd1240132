"""Forces of a step: gravity, springs, dampers, actuators, external wrenches.

All but the momentum terms enter the balance as an impulse linear in v: `constant - drag v`.
Potentials are taken at q_k (symplectic), damping and servo terms at the end of the step
(dissipative at any stiffness), and so are springs too stiff for the timestep.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import at_least, contract, cross, dot
from dojo.model.layout import assemble, layout, take
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.inertia import link_inertia

# Symplectic Euler is stable below h^2 k / m = 4; well before that its energy swings visibly.
STIFF_SPRING = 0.25


class Impulse(NamedTuple):
    """Generalized impulse `constant - drag v` over a step."""

    constant: Array  # (nv,)
    drag: Array  # (nv,)

    def __add__(self, other: "Impulse") -> "Impulse":  # type: ignore[override]
        return Impulse(self.constant + other.constant, self.drag + other.drag)


def external_impulse(model: Model, center: Array, wrench: Array | None) -> Array:
    """Impulse of gravity and of world wrenches (nl, 6), force first, at the links' centres.

    Spatial, about the world origin: (6, nl).
    """
    force = model.link_mass * model.gravity[:, None]
    torque = jnp.zeros_like(force)
    if wrench is not None:
        force, torque = force + wrench[:, :3].T, wrench[:, 3:].T
    return model.timestep * jnp.concatenate([torque + cross(center, force), force])


def passive_impulse(model: Model, q: Array, inertia: Array) -> Impulse:
    """Springs and dampers; `inertia` (nv,) is the diagonal of the mass matrix."""
    h = model.timestep
    stiffness, stretch = _springs(model, q)
    # The stretch at the end of the step is that of its start plus h v: exact for scalars; for
    # rotations the spring's Hessian is at most k at any angle, so the drag h^2 k is enough.
    stiff = h * h * stiffness >= STIFF_SPRING * _felt(model, inertia)
    drag = h * model.dof_damping + jnp.where(stiff, h * h * stiffness, 0.0)
    return Impulse(-h * stiffness * stretch, drag)


def _felt(model: Model, inertia: Array) -> Array:
    """(nv,) `inertia`, for rotations the harmonic mean of the link's own principal moments.

    That is at most three times the smallest, in any axes: a thin rod may lie askew in its link.
    """
    table = layout(model.topology)
    x, y, z = jnp.moveaxis(take(link_inertia(model), table.spinning), 1, 0)
    minors = cross(y, z)[0] + cross(z, x)[1] + cross(x, y)[2]
    mean = 3.0 * dot(x, cross(y, z)) / at_least(minors)
    return assemble(
        [
            (table.scalar_v, take(inertia, table.scalar_v)),
            (table.spin_v, jnp.broadcast_to(mean, table.spin_v.shape)),
            (table.place_v, take(inertia, table.place_v)),
        ],
        model.nv,
    )


def _springs(model: Model, q: Array) -> tuple[Array, Array]:
    """Stiffness and stretch of each degree of freedom, (nv,); ball springs pull along the log."""
    table = layout(model.topology)
    rest = model.spring_ref
    quats = table.quat_q
    back = rotations.conjugate(rotations.normalize(take(rest, quats)))
    relative = rotations.multiply(back, take(q, quats))
    stretch = assemble(
        [
            (table.scalar_v, take(q - rest, table.scalar_q)),
            (table.spin_v, rotations.logarithm(relative)),
            (table.place_v, take(q - rest, table.place_q)),
        ],
        model.nv,
    )
    return model.joint_stiffness[model.topology.dof_link], stretch


def spring_energy(model: Model, q: Array) -> Array:
    """Potential energy of the springs [J]."""
    stiffness, stretch = _springs(model, q)
    return 0.5 * jnp.sum(stiffness * stretch * stretch)


def actuator_impulse(model: Model, q: Array, v: Array, u: Array, inertia: Array) -> Impulse:
    """Actuators: gain u + bias, affine in the length and speed at the end of the step.

    A force limit is a case decided at the start, by the force predicted with the diagonal
    inertia: beyond it the force is constant at the limit, within it affine.
    """
    t, h = model.topology, model.timestep
    if not model.nu:
        zero = jnp.zeros(model.nv, model.dtype)
        return Impulse(zero, zero)
    dof, position = t.v_start[t.actuators.joint], t.q_start[t.actuators.joint]
    gear, bias = model.actuator_gear, model.actuator_bias.T
    control = clip_control(model, u)
    force = model.actuator_gain * control + bias[0] + bias[1] * gear * take(q, position)
    slope = -gear * (h * bias[1] + bias[2])
    limits = jnp.where(
        t.actuators.force_limited[:, None],
        model.actuator_force_range,
        jnp.array([-jnp.inf, jnp.inf], model.dtype),
    )
    force, slope = _limited(force, slope, gear, take(v, dof), take(inertia, dof), h, limits)
    to_dof = jnp.asarray(_actuator_table(t), model.dtype)
    total, total_slope = contract(gear * jnp.stack([force, slope]), to_dof)
    k = t.v_start[t.force_limited_joints]
    if len(k):
        joint_force, joint_slope = _limited(
            total[k],
            total_slope[k],
            jnp.ones(len(k), model.dtype),
            v[k],
            inertia[k],
            h,
            model.joint_force_range,
        )
        total, total_slope = total.at[k].set(joint_force), total_slope.at[k].set(joint_slope)
    return Impulse(h * total, h * total_slope)


def _limited(
    force: Array, slope: Array, gear: Array, v: Array, inertia: Array, h: Array, limits: Array
) -> tuple[Array, Array]:
    """(force, slope) of `force - slope v`, constant where the predicted force is out of limits."""
    damped = inertia + h * gear * slope
    speed = (inertia * v + h * gear * force) / damped
    predicted = force - slope * speed
    clipped = jnp.clip(predicted, limits[:, 0], limits[:, 1])
    saturated = clipped != predicted
    return jnp.where(saturated, clipped, force), jnp.where(saturated, 0.0, slope)


def clip_control(model: Model, u: Array) -> Array:
    """u within the actuators' control ranges."""
    limits = model.actuator_ctrl_range
    clipped = jnp.clip(u, limits[:, 0], limits[:, 1])
    return jnp.where(jnp.asarray(model.topology.actuators.ctrl_limited), clipped, u)


@functools.lru_cache(maxsize=64)
def _actuator_table(topology: Topology) -> np.ndarray:
    """One-hot (nu, nv): the degree of freedom each actuator drives."""
    table = np.zeros((len(topology.actuator_names), int(topology.v_start[-1])))
    table[np.arange(len(table)), topology.v_start[topology.actuators.joint]] = 1.0
    return table
