"""Forces of a step: gravity, springs, dampers, actuators, a medium, external wrenches.

All but the momentum terms enter the balance as an impulse linear in v.
Potentials are taken at q_k (symplectic), damping and servo terms at the end of the step
(dissipative at any stiffness), and so are springs too stiff for the timestep.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import add_diagonal, at_least, contract, cross, dot
from dojo.model.layout import assemble, layout, take
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.fluid import drag
from dojo.physics.inertia import link_inertia
from dojo.physics.kinematics import Frames
from dojo.physics.tendons import tendon_lengths, tendon_rates
from dojo.physics.transmission import lengths, transmissions, wide_rows

# Symplectic Euler is stable below h^2 k / m = 4; well before that its energy swings visibly.
STIFF_SPRING = 0.25


class Impulse(NamedTuple):
    """Generalized impulse `constant - drag v - rows^T (resistance rows v)` over a step."""

    constant: Array  # (nv,)
    drag: Array  # (nv,)
    rows: Array  # (k, nv) of tendons, actuators on more than one degree of freedom, boxes in fluid
    resistance: Array  # (k,)

    def resisted(self, v: Array) -> Array:
        """What it takes from the constant at v, (nv,)."""
        taken = self.drag * v
        if not len(self.rows):
            return taken
        return taken + contract(self.resistance * contract(self.rows, v), self.rows)

    def added_to(self, matrix: Array, least: float = -jnp.inf) -> Array:
        """The matrix (nv, nv) and the derivative of `resisted`, coefficients at least `least`."""
        matrix = add_diagonal(matrix, jnp.maximum(self.drag, least))
        if not len(self.rows):
            return matrix
        weighed = jnp.maximum(self.resistance, least)[:, None] * self.rows
        return matrix + contract(self.rows.T, weighed)


def external_impulse(model: Model, center: Array, wrench: Array | None) -> Array:
    """Impulse of gravity and of world wrenches (nl, 6), force first, at the links' centres.

    Spatial, about the world origin: (6, nl).
    """
    force = model.link_mass * (1.0 - model.link_gravcomp) * model.gravity[:, None]
    torque = jnp.zeros_like(force)
    if wrench is not None:
        force, torque = force + wrench[:, :3].T, wrench[:, 3:].T
    return model.timestep * jnp.concatenate([torque + cross(center, force), force])


def joint_impulse(
    model: Model, q: Array, v: Array, u: Array, inertia: Array, frames: Frames, axes: Array
) -> Impulse:
    """Springs, dampers and actuators, of joints and tendons, and the drag of a medium.

    `inertia` (nv,) is the diagonal of the mass matrix; frames and motion axes are those at q.
    """
    constant, damped = _passive(model, q, inertia)
    tendons = tendon_rates(model, frames, axes)
    wide = wide_rows(model, tendons, frames, axes)
    pull = _actuated(model, v, u, inertia, lengths(model, q, frames), wide)
    spring, spring_drag = _tendon_springs(model, tendons, q, frames, inertia)
    medium = drag(model, frames, axes, v)
    felt = model.timestep * medium.resistance
    rows = jnp.concatenate([tendons, pull.rows, medium.rows])
    constant = constant + pull.constant
    if len(rows):
        along = jnp.concatenate([spring, pull.along, felt * medium.wind])
        constant = constant + contract(along, rows)
    resistance = jnp.concatenate([spring_drag, pull.resistance, felt])
    return Impulse(constant, damped + pull.drag, rows, resistance)


def _passive(model: Model, q: Array, inertia: Array) -> tuple[Array, Array]:
    """Impulse and drag of the joints' springs and dampers, (nv,) each."""
    h = model.timestep
    stiffness, stretch = _springs(model, q)
    # The stretch at the end of the step is that of its start plus h v: exact for scalars; for
    # rotations the spring's Hessian is at most k at any angle, so the drag h^2 k is enough.
    stiff = h * h * stiffness >= STIFF_SPRING * _felt(model, inertia)
    drag = h * model.dof_damping + jnp.where(stiff, h * h * stiffness, 0.0)
    return -h * stiffness * stretch, drag


def _tendon_springs(
    model: Model, rows: Array, q: Array, frames: Frames, inertia: Array
) -> tuple[Array, Array]:
    """Impulse and drag along the tendons, whose rates are these rows, (nt,) each."""
    h, k = model.timestep, model.tendon_stiffness
    stretch = tendon_stretch(model, q, frames)
    stiff = h * h * k * _mobility(rows, inertia) >= STIFF_SPRING
    low, high = model.tendon_springlength.T
    pulls = (stretch != 0) | (low == high)
    drag = h * model.tendon_damping + jnp.where(stiff & pulls, h * h * k, 0.0)
    return -h * k * stretch, drag


def tendon_stretch(model: Model, q: Array, frames: Frames) -> Array:
    """Lengths beyond those between which the springs are slack, (nt,) [m]."""
    length, slack = tendon_lengths(model, q, frames), model.tendon_springlength
    return length - jnp.clip(length, slack[:, 0], slack[:, 1])


def _mobility(rows: Array, inertia: Array) -> Array:
    """What rows (k, nv) move per unit of impulse, the degrees of freedom uncoupled: (k,)."""
    return contract(rows * rows, 1.0 / inertia)


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


def spring_energy(model: Model, q: Array, frames: Frames) -> Array:
    """Potential energy of the springs [J]; `frames` are those at q."""
    stiffness, stretch = _springs(model, q)
    tendons = model.tendon_stiffness * tendon_stretch(model, q, frames) ** 2
    return 0.5 * (jnp.sum(stiffness * stretch * stretch) + jnp.sum(tendons))


class _Pull(NamedTuple):
    """Impulse and drag of actuators, as `Impulse` has them."""

    constant: Array  # (nv,) of actuators on scalar joints
    drag: Array  # (nv,)
    rows: Array  # (k, nv) of the others
    along: Array  # (k,) impulse along these rows
    resistance: Array  # (k,)


def _actuated(
    model: Model, v: Array, u: Array, inertia: Array, length: Array, rows: Array
) -> _Pull:
    """Actuators: gain u + bias, both affine in the length and speed at the end of the step.

    A force limit is a case decided at the start, by the force predicted with the diagonal
    inertia: beyond it the force is constant at the limit, within it affine. `length` (nu,), and
    rows (k, nv) of those that have some.
    """
    t, h, of = model.topology, model.timestep, transmissions(model.topology)
    none, wide = jnp.zeros(model.nv, model.dtype), of.wide
    if not model.nu:
        return _Pull(none, none, rows, none[:0], none[:0])
    force, slope = _actuator_forces(model, v, u, inertia, length, rows)
    gear = model.actuator_gear[of.scalar, 0]
    on_joints = jnp.stack([gear * force[of.scalar], gear * gear * slope[of.scalar]])
    total, drag = contract(on_joints, jnp.asarray(_actuator_table(t), model.dtype))
    pull = _Pull(total, drag, rows, force[wide], slope[wide])
    if len(t.force_limited_joints):
        pull = _limited_at_joints(model, pull, v, inertia)
    return pull._replace(
        constant=h * pull.constant,
        drag=h * pull.drag,
        along=h * pull.along,
        resistance=h * pull.resistance,
    )


def _actuator_forces(
    model: Model, v: Array, u: Array, inertia: Array, length: Array, rows: Array
) -> tuple[Array, Array]:
    """Forces of actuators at rest, and what their speed takes from them: (nu,) each."""
    t, h, of = model.topology, model.timestep, transmissions(model.topology)
    dof = t.v_start[t.actuators.joint[of.scalar]]
    gear, wide = model.actuator_gear[of.scalar, 0], of.wide
    constant, by_length, by_speed = model.actuator_gain.T * u + model.actuator_bias.T
    speed = actuator_speeds(model, rows, v)
    parts = [(of.scalar, gear * gear / take(inertia, dof)), (wide, _mobility(rows, inertia))]
    mobility = assemble(parts, model.nu)
    force = constant + by_length * length
    slope = -(h * by_length + by_speed)
    limits = jnp.where(
        t.actuators.force_limited[:, None],
        model.actuator_force_range,
        jnp.array([-jnp.inf, jnp.inf], model.dtype),
    )
    clipped, saturated = _limited(force, slope, mobility, speed, h, limits)
    return jnp.where(saturated, clipped, force), jnp.where(saturated, 0.0, slope)


def actuator_forces(
    model: Model, start: tuple[Array, Array], u: Array, inertia: Array, place: tuple[Frames, Array]
) -> Callable[[Array], tuple[Array, Array]]:
    """Forces of actuators (nu,), and on the degrees of freedom (nv,), as functions of the speed.

    `start`: q and v where the step begins, `place`: frames and motion axes there.
    """
    (q, v), (frames, axes) = start, place
    rows = wide_rows(model, tendon_rates(model, frames, axes), frames, axes)
    at = v, u, inertia, lengths(model, q, frames), rows
    force, slope = _actuator_forces(model, *at)
    pull = _actuated(model, *at)

    def at_speed(v: Array) -> tuple[Array, Array]:
        along = pull.along - pull.resistance * contract(pull.rows, v)
        impulse = pull.constant - pull.drag * v + contract(along, pull.rows)
        return force - slope * actuator_speeds(model, rows, v), impulse / model.timestep

    return at_speed


def actuator_speeds(model: Model, rows: Array, v: Array) -> Array:
    """Rates of the actuators' lengths, (nu,); rows: of the wide ones."""
    t, of = model.topology, transmissions(model.topology)
    dof = t.v_start[t.actuators.joint[of.scalar]]
    scalar = model.actuator_gear[of.scalar, 0] * take(v, dof)
    return assemble([(of.scalar, scalar), (of.wide, contract(rows, v))], model.nu)


def _limited_at_joints(model: Model, pull: _Pull, v: Array, inertia: Array) -> _Pull:
    """Actuator forces whose sum a joint limits; forces instead of impulses.

    Where it does, the joint feels the limit and leaves the rows of the others.
    """
    k = model.topology.v_start[model.topology.force_limited_joints]
    share, speed = pull.rows[:, k], v[k]
    # Of the rows the joint's own part answers its speed, the rest is that of the start.
    others = contract(pull.rows, v)[:, None] - share * speed
    along = pull.along[:, None] - pull.resistance[:, None] * others
    force = pull.constant[k] + jnp.sum(share * along, axis=0)
    slope = pull.drag[k] + jnp.sum(share * share * pull.resistance[:, None], axis=0)
    clipped, saturated = _limited(
        force, slope, 1.0 / inertia[k], speed, model.timestep, model.joint_force_range
    )
    left_out = jnp.where(saturated, share, 0.0)
    return _Pull(
        constant=pull.constant.at[k].set(jnp.where(saturated, clipped, pull.constant[k])),
        drag=pull.drag.at[k].set(jnp.where(saturated, 0.0, pull.drag[k])),
        rows=pull.rows.at[:, k].set(share - left_out),
        along=pull.along - pull.resistance * contract(left_out, speed),
        resistance=pull.resistance,
    )


def _limited(
    force: Array, slope: Array, mobility: Array, speed: Array, h: Array, limits: Array
) -> tuple[Array, Array]:
    """`force - slope v` predicted and kept within limits, and whether it is beyond them."""
    ahead = (speed + h * mobility * force) / (1.0 + h * mobility * slope)
    predicted = force - slope * ahead
    clipped = jnp.clip(predicted, limits[:, 0], limits[:, 1])
    return clipped, clipped != predicted


@functools.lru_cache(maxsize=64)
def _actuator_table(topology: Topology) -> np.ndarray:
    """One-hot (k, nv): the degree of freedom that each actuator on a scalar joint drives."""
    joints = topology.actuators.joint[transmissions(topology).scalar]
    table = np.zeros((len(joints), int(topology.v_start[-1])))
    table[np.arange(len(table)), topology.v_start[joints]] = 1.0
    return table
