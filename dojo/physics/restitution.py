"""Restitution, Newton's: which contacts strike in a step, and how fast they leave (docs/theory.md).

A step ends with the contacts that it closed on their surfaces. In a mechanism of which one struck,
the impulses of the closed contacts and limits are taken back, and a second problem, of velocities
at q_{k+1}, gives those of the impact:

    M (v' - v) = N^T gamma + T^T b,    0 <= gamma  complementary to  N v' - target >= 0

Whether a contact strikes or rests is a case, decided by the step's solution: a share that fades
would spend the energy of an impact between two steps.
"""

import dataclasses
from functools import lru_cache, partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import (
    at_least,
    contract,
    eye,
    inverse_positive,
)
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.model.topology import WORLD, Topology
from dojo.model.topology import contact_geoms as all_contact_geoms
from dojo.physics import mechanics, mocap
from dojo.physics.collision import Candidates, contact_geoms, contact_points, framed
from dojo.physics.equality import bonds, solve_bound
from dojo.physics.forces import Impulse
from dojo.physics.inertia import mass_matrix_at, solve_mass
from dojo.physics.limits import limit_table, span_rows
from dojo.physics.mechanics import Node, Trial


class Strikes(NamedTuple):
    """The cases of a step's rows."""

    bounces: Array  # (nc,) bool: struck the surface, leaves with restitution
    acts: Array  # (nc + 2 nlimit,) bool: bounces, or closed in a mechanism where others bounce


class Approach(NamedTuple):
    """How contacts would move on without contact impulses."""

    speed: Array  # (nc,) [m/s] normal velocity at the end of the step
    pressed: Array  # (nc,) [m/s] what the forces of one step take from it, not negative
    square: Array  # (nc,) [m2/s2] of the normal velocity at the surface


def for_impacts(model: Model) -> Model:
    """The model without dry friction in joints: a force, which has no part in impacts."""
    topology = dataclasses.replace(model.topology, dry_dofs=np.zeros(0, dtype=int))
    return dataclasses.replace(model, topology=topology)


def arrival(model: Model, node: Node, trial: Trial) -> Node:
    """The node at the end of a step, without forces: contacts and limits at q_{k+1}."""
    point, contacts = contact_points(trial.touch), framed(model, node.contacts, trial.touch)
    zero = jnp.zeros(model.nv, model.dtype)
    mass = mass_matrix_at(model, trial.frames, trial.axes)
    held = bonds(model, trial.frames, trial.axes, trial.q, partial(solve_mass, model, mass))
    twists = mocap.twists(model, trial.frames, node.speed)
    return node._replace(
        q=trial.q,
        frames=trial.frames,
        axes=trial.axes,
        twists=twists,
        mass=mass,
        bonds=held,
        multiplier=jnp.zeros_like(node.multiplier),
        impulse=Impulse(zero, zero, jnp.zeros((0, model.nv), model.dtype), zero[:0]),
        point=point,
        contacts=contacts,
        rows=mechanics.rows_at(model, contacts, point, trial.axes, twists),
        weight=jnp.ones_like(node.weight),
        gap=jnp.concatenate([trial.touch.gap, node.gap[len(trial.touch.gap) :]]),
        spans=span_rows(model, trial.q, trial.frames, trial.axes),
    )


def taken_back(
    model: Model, node: Node, end: Node, v: Array, gamma: Array, b: Array
) -> tuple[Array, Array]:
    """Velocity v (nv,) at the end of a step without these impulses of its contacts and limits.

    And what the equality constraints answer them with, (ne,).
    """
    impulse = mechanics.pull(model, node, gamma, b)
    change, held = solve_bound(partial(solve_mass, model, end.mass), impulse, end.bonds)
    return v - change, held


def effective_mass(model: Model, at: Node) -> Array:
    """What resists each row, 1 / (n M^-1 n^T): (nc + 2 nlimit,) [kg or kg m2]."""
    limits = eye(model.dtype, model.nv)[:, limit_table(model).dof]
    contacts = at.rows.dense(model.nv)[:, : model.topology.nc]
    spans = at.spans.T
    work = jnp.concatenate([contacts, limits, limits, spans, spans], axis=1)
    # Not by a solve for all rows: its derivatives take as many again for each tangent.
    inverse = inverse_positive(at.mass)
    if model.topology.ne:
        held = contract(at.bonds.answers, inverse_positive(at.bonds.mobility))
        inverse = inverse - contract(held, at.bonds.answers.T)
    return 1.0 / at_least(jnp.sum(work * contract(inverse, work), axis=0))


def approach(model: Model, node: Node, end: Node, v: Array) -> Approach:
    """The approach to the surfaces, v (nv,) being the velocity at the end without impulses.

    In free flight along the normal, v_{k+1} = v_k - s and phi_{k+1} = phi_k + h (v_k - s): this
    keeps v_k (v_k - s) + 2 s phi_k / h exactly, and at q_{k+1} the contact stands on its surface.
    """
    nc = node.weight.shape[0]
    force = node.impulse.constant - node.impulse.resisted(node.v)
    resistance = partial(solve_mass, model, node.impulse.added_to(node.mass))
    change, _ = solve_bound(resistance, force, node.bonds)
    speed = end.rows.speed(v)[:nc]
    pressed = jnp.maximum(-end.rows.along(change)[:nc], 0.0)
    fall = (node.gap - end.gap)[:nc] / model.timestep
    return Approach(speed, pressed, speed * (speed + pressed) + 2 * pressed * fall)


def strikes(
    model: Model, node: Node, end: Node, v: Array, point: tuple[Array, Array, Array], kappa: Array
) -> Strikes:
    """Tell impacts from contacts at rest in a step that arrived with v (nv,).

    `point`: its gamma, b, slack. Closed: the impulse would move the contact further than the slack
    that is left; on the central path, gamma^2 > m kappa / h. An impact: the energy of the approach
    exceeds what the forces of one step give and the kappa / h joules of the barrier.
    """
    gamma, b, slack = point
    h, nc = model.timestep, node.weight.shape[0]
    mass = effective_mass(model, end)
    closed = h * gamma > mass * slack
    before, _ = taken_back(model, node, end, v, gamma, b)
    how = approach(model, node, end, before)
    least = how.pressed**2 + 2 * kappa / (h * mass[:nc])
    bounces = closed[:nc] & (how.speed < 0) & (how.square > least)
    touching, limits = _mechanisms(model.topology)
    first, second = (entries(touching, geoms) for geoms in contact_geoms(model, node.contacts))
    contacts = jnp.maximum(first, second)
    rows = jnp.concatenate([contacts, jnp.asarray(limits)])
    together = ((rows[:, None] == contacts) & bounces).any(axis=1)
    return Strikes(bounces, closed & together)


@lru_cache(maxsize=64)
def _mechanisms(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """A number for the mechanism of each geom, -1 for the world's, and of each limit (2 nlimit,).

    Mechanisms that may touch each other, or that an equality constraint or a tendon joins, count as
    one.
    """
    number = np.append(topology.ancestor[:-1].argmax(axis=1), WORLD)
    number[topology.joints_of("mocap")] = WORLD
    joined = topology.equalities
    spans = [topology.dof_link[row] for row in (*joined.coupled, *topology.tendon_dofs)]
    links = [
        topology.geom_link[all_contact_geoms(topology)],
        np.stack([joined.first, joined.second], axis=1),
        *(np.stack([span[:-1], span[1:]], axis=1) for span in spans),
    ]
    for a, b in np.concatenate(links):
        if WORLD not in (number[a], number[b]):
            number[number == number[b]] = number[a]
    spans = [topology.dof_link[row] for row in topology.tendon_dofs[topology.limited_tendons]]
    tendons = np.array([span[0] if len(span) else WORLD for span in spans], dtype=int)
    lengths = np.concatenate([tendons, topology.limited_balls])
    limits = np.concatenate([np.tile(topology.limited, 2), np.tile(lengths, 2)])
    return number[topology.geom_link], number[limits]


def leaving_speed(model: Model, contacts: Candidates, how: Approach, bounces: Array) -> Array:
    """Least normal velocity (nc,) that the impact leaves each contact.

    `state.v` belongs to the momentum before the forces of the next step: half of what these take
    from it is added to e times the approach, as far as the bounce leaves the surface at all. A
    contact that others drive to its surface may go on as fast as e times its way off: Newton's law
    once more, as Moreau writes it; the next step stops it.
    """
    e = jnp.maximum(*(model.geom_restitution[geoms] for geoms in contact_geoms(model, contacts)))
    speed = e * jnp.sqrt(at_least(jnp.where(bounces, how.square, 1.0)))
    driven = -e * jnp.maximum(how.speed + how.pressed, 0.0)
    return jnp.where(bounces, speed + jnp.minimum(speed, 0.5 * how.pressed), driven)
