"""Closed-form derivatives of a step by the state and the control that it starts from.

Links are differentiated one by one, along the six directions of their twist at the start, the tree
by `tree_rates`: all nv columns cost about what a few Newton matrices cost, where pushing nv
tangents through the kinematics costs nv steps. The equations stand in `mechanics`; a test compares
their derivatives with these (tests/test_linearize.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.spatial import force_cross, force_matrix
from dojo.math.vectors import add_diagonal, contract, diagonal, eye, positive_solver, skew, total
from dojo.model.model import Model
from dojo.physics import mocap
from dojo.physics.collision import (
    anchored,
    candidates,
    contact_links,
    contact_moves,
    contact_points,
    framed,
    padded,
    screws,
    touch,
    unit_screw,
)
from dojo.physics.equality import (
    bonds,
    carried_rates,
    equality_rates,
    remaining,
    solve_bound,
)
from dojo.physics.forces import external_impulse, joint_impulse
from dojo.physics.inertia import (
    centers_of_mass,
    joint_forces,
    joint_space,
    mass_matrix_at,
    spatial_inertia,
)
from dojo.physics.kinematics import (
    Frames,
    displace,
    integration_rates,
    link_frames,
    link_twists,
    local_maps,
    motion_axes,
)
from dojo.physics.limits import span_pull, span_rows
from dojo.physics.mechanics import (
    RECOVERY_SPEED,
    Derivative,
    Node,
    Trial,
    frames_ahead,
    nearness,
)
from dojo.physics.pairs import Bodies
from dojo.physics.transmission import transmissions
from dojo.physics.tree_rates import (
    joint_axes_rate,
    joint_forces_rate,
    momentum_rate,
    velocity_rate,
)


class Solved(NamedTuple):
    """A solved step: where it starts, where it ends, what holds it in balance."""

    node: Node
    u: Array  # (nu,) what drives the actuators
    wrench: Array | None  # (nl, 6)
    trial: Trial
    derivative: Derivative
    v: Array  # (nv,) interval velocity
    gamma: Array  # (nc + 2 nlimit,)
    b: Array  # (d, nf + nd)
    multiplier: Array  # (ne,)


class Rates(NamedTuple):
    """Derivatives of the step's rows with its unknowns held, a column for each input."""

    balance_q: Array  # (nv, nv) by the tangent vector of q_k
    balance_v: Array  # (nv, nv) by v_k
    balance_u: Array  # (nv, nu) by what drives the actuators
    gap_q: Array  # (nv, nc) transposed: the contact gaps
    slip_q: Array  # (nv, d, nf) likewise
    spans_q: Array  # (nspan, nv) of the limited spans at the end
    spans: Array  # (nspan, nv) of the limited spans at the start
    follows: Array  # (2 nlimit,) 1 where what a limit asks for follows its distance at the start
    equality_q: Array  # (ne, nv)


class _Local(NamedTuple):
    """How candidates answer the twist of their second body against the first at the start.

    When both move as one, points and frames move along and gaps stay as they are.
    """

    gap: Array  # (6, nc) at the start
    end: Array  # (6, nc) the gap at the end, with the end pose held
    screws: Array  # (1 + d, 6, 6, nc) of unit impulses


def rates(model: Model, at: Solved) -> Rates:
    """Differentiate the rows of a step."""
    node, trial, h = at.node, at.trial, model.timestep
    nc, nf = node.weight.shape[0], node.contacts.friction.sliding.shape[0]
    carried = _carried(model, at)
    local, links = _local(model, node, trial), contact_links(model, node.contacts)
    moves = contact_moves(model, node.contacts)
    # What is asked for, min(0, gap + h speed), follows the gap of a violated bound. Contacts that
    # move nothing ask for one that always does, but have no part in anything.
    follows = (node.gap + h * RECOVERY_SPEED < 0).astype(model.dtype)
    start = contract(node.axes.T, local.end - follows[:nc] * local.gap)
    end = contract(carried.T, screws(trial.touch.point, trial.touch.normal))
    sides = [
        velocity_rate(
            model,
            links[:, :nf],
            node.axes,
            _link_velocities(model, node, at.v),
            at.v,
            (_screw(node, k)[:, :nf], local.screws[k, ..., :nf]),
        )
        for k in range(1, 1 + len(at.b))
    ]
    pulled_q, pulled_v = _pull_rates(model, at, local)
    impulse_q, impulse_v, impulse_u = _impulse_rates(model, at)
    inertia = spatial_inertia(model, node.frames).full()
    momentum = momentum_rate(model, node.axes, inertia, node.v)
    held_q, equality_q = _equality_rates(model, at)
    span_q, span_v = _span_pull_rates(model, at)
    bound_q = held_q + span_q
    return Rates(
        balance_q=_flow_rate(model, at, carried) - momentum - impulse_q - pulled_q - bound_q,
        balance_v=-node.mass - pulled_v - impulse_v - span_v,
        balance_u=-impulse_u,
        gap_q=(start + end) * moves,
        slip_q=jnp.stack(sides, axis=1),
        spans_q=span_rows(model, trial.q, trial.frames, carried),
        spans=span_rows(model, node.q, node.frames, node.axes),
        follows=follows[nc:],
        equality_q=equality_q,
    )


class Arrival(NamedTuple):
    """Derivatives of the next state, (nv, nv) each, tangent vectors at both ends."""

    q_by_q: Array
    q_by_v: Array  # by the interval velocity
    v_by_q: Array
    v_by_v: Array


def arrival_rates(model: Model, at: Solved) -> Arrival:
    """Differentiate the next state by q_k and by the interval velocity."""
    node, trial, h = at.node, at.trial, model.timestep
    q_by_q, q_by_dq = integration_rates(model, h * at.v)
    q_by_v = h * q_by_dq
    end, start = _momentum_blocks(model, at)
    wrench, inertia = trial.interval.momentum, spatial_inertia(model, trial.frames).full()
    mass = mass_matrix_at(model, trial.frames, trial.axes)
    solved = positive_solver(mass)
    momentum = joint_forces(model, trial.axes, wrench) + model.dof_armature * at.v
    held = bonds(model, trial.frames, trial.axes, trial.q, solved)
    twists = mocap.twists(model, trial.frames, node.speed)
    carried = carried_rates(model, trial.frames, trial.q, twists)
    v, multiplier = solve_bound(solved, momentum, held, -carried)
    by_end = joint_forces_rate(model, trial.axes, wrench, end)
    by_end = by_end - momentum_rate(model, trial.axes, inertia, v)
    pulled, gained = _bond_rates(model, trial.q, multiplier, v, node.speed)
    by_end = by_end + pulled
    by_q = contract(by_end, q_by_q) + joint_space(model, start, trial.axes, node.axes)
    by_v = add_diagonal(contract(by_end, q_by_v), model.dof_armature)
    sides = jnp.concatenate([by_q, by_v], axis=1)
    wanted = -contract(gained, jnp.concatenate([q_by_q, q_by_v], axis=1))
    v_by, _ = solve_bound(solved, sides, held, wanted)
    return Arrival(q_by_q, q_by_v, v_by[:, : model.nv], v_by[:, model.nv :])


def _equality_rates(model: Model, at: Solved) -> tuple[Array, Array]:
    """Rates by q_k of what the equality constraints pull with (nv, nv), and of `unmet` (ne, nv)."""
    node = at.node
    if not model.topology.ne:
        zero = jnp.zeros((0, model.nv), model.dtype)
        return jnp.zeros((), model.dtype), zero
    pulled, _ = _bond_rates(model, node.q, at.multiplier, node.v, node.speed)
    q_by_q, _ = integration_rates(model, model.timestep * at.v)
    trial, held = at.trial, node.bonds
    end = contract(equality_rates(model, trial.frames, trial.axes, trial.q), q_by_q)
    # What recovery leaves follows the violation.
    recovered = model.timestep * RECOVERY_SPEED
    follows = jax.jacfwd(lambda x: remaining(model, x, recovered))(held.violation)
    return pulled, end - contract(follows, held.rows)


def _span_pull_rates(model: Model, at: Solved) -> tuple[Array, Array]:
    """Rates of what the limits of spans pull with, by q_k and by v_k: (nv, nv) each."""
    t, node = model.topology, at.node
    paths = len(t.limited_tendons) and len(t.tendon_paths)
    if not paths and not len(t.limited_balls):
        return jnp.zeros((), model.dtype), jnp.zeros((), model.dtype)
    low, high = at.gamma[-2 * t.nspan :].reshape(2, -1)

    def pulled(dq: Array, v: Array) -> Array:
        q, frames, axes = displace(model, node.q, dq), node.frames, node.axes
        if paths:
            frames = link_frames(model, node.maps, q)
            axes = motion_axes(model, node.maps, frames)
        return contract(low - high, span_pull(model, q, v, frames, axes))

    by_q, by_v = jax.jacfwd(pulled, argnums=(0, 1))(jnp.zeros_like(at.v), node.v)
    return by_q, by_v


def _bond_rates(
    model: Model, q: Array, multiplier: Array, v: Array, speed: Array | None
) -> tuple[Array, Array]:
    """Rates by q of the constraints' pull E^T y (nv, nv) and of the velocity they see.

    At joint velocities v, and at that speed (6, nmocap) of mocap bodies.
    """
    if not model.topology.ne:
        return jnp.zeros((), model.dtype), jnp.zeros((0, model.nv), model.dtype)

    def felt(dq: Array) -> tuple[Array, Array]:
        moved, maps = displace(model, q, dq), local_maps(model)
        frames = link_frames(model, maps, moved)
        rows = equality_rates(model, frames, motion_axes(model, maps, frames), moved)
        carried = carried_rates(model, frames, moved, mocap.twists(model, frames, speed))
        return contract(multiplier, rows), contract(rows, v) + carried

    return jax.jacfwd(felt)(jnp.zeros_like(v))


def _carried(model: Model, at: Solved) -> Array:
    """Twists of the end poses as the start moves with v held, (6, nv)."""
    q_by_q, _ = integration_rates(model, model.timestep * at.v)
    return contract(at.trial.axes, q_by_q)


def _momentum_blocks(model: Model, at: Solved) -> tuple[Array, Array]:
    """Answers of the links' momenta to the twists of their end and start poses, (6, 6, nl)."""
    end = at.derivative.blocks.full() / model.timestep
    # When both poses move as one, the momentum moves along.
    return end, force_matrix(at.trial.interval.momentum) - end


def _flow_rate(model: Model, at: Solved, carried: Array) -> Array:
    """Rate of the momenta's part of the balance by q_k, (nv, nv)."""
    axes = at.node.axes
    end, start = _momentum_blocks(model, at)
    rate = joint_forces_rate(model, axes, at.trial.interval.momentum, start)
    return rate + joint_space(model, end, axes, carried)


def _impulse_rates(model: Model, at: Solved) -> tuple[Array, Array, Array]:
    """Rates of the forces' impulse by q_k and v_k (nv, nv) and by u (nv, nu)."""
    node, t = at.node, model.topology
    center = centers_of_mass(model, node.frames)
    external = external_impulse(model, center, at.wrench)
    arm = skew(external[3:])
    turn = total(arm[:, :, None] * skew(center)[None], axis=1)
    zero = jnp.zeros_like(arm)
    upper = jnp.concatenate([turn, -arm], axis=1)
    blocks = jnp.concatenate([upper, jnp.concatenate([zero, zero], axis=1)])
    by_q = joint_forces_rate(model, node.axes, external, blocks)

    def at_joints(dq: Array, u: Array, v: Array) -> Array:
        q, frames, axes = displace(model, node.q, dq), node.frames, node.axes
        if len(transmissions(t).site) or len(t.tendon_paths) or len(t.fluid_link):
            frames = link_frames(model, node.maps, q)
            axes = motion_axes(model, node.maps, frames)
        impulse = joint_impulse(model, q, v, u, diagonal(node.mass), frames, axes)
        return impulse.constant - impulse.resisted(at.v)

    here = jnp.zeros_like(at.v), at.u, node.v
    joint_q, by_u = jax.jacfwd(at_joints, argnums=(0, 1))(*here)
    by_v = jnp.zeros((), model.dtype)
    # A medium, and what joints leave of wide actuators at their limits; others do not answer v_k.
    if len(t.fluid_link) or (len(t.force_limited_joints) and len(transmissions(t).wide)):
        by_v = jax.jacfwd(at_joints, argnums=2)(*here)
    return by_q + joint_q, by_v, by_u


def _link_velocities(model: Model, node: Node, v: Array) -> Array:
    """World twists of all links at v, (6, nl)."""
    twists = link_twists(model, node.axes, v)
    return twists if node.twists is None else twists + node.twists


def _screw(node: Node, k: int) -> Array:
    """Screws (6, nc) of unit impulses of a kind (`unit_screw`), zero where there are none."""
    return padded(unit_screw(node.contacts, node.point, k), node.point.shape[1])


def _local(model: Model, node: Node, trial: Trial) -> _Local:
    still = candidates(model)
    ahead = frames_ahead(model, node.maps, node.q, node.frames, node.unhindered, node.speed)
    every = node.frames.with_world()

    def at_start(second: Frames) -> tuple[Array, Array, Array]:
        bodies = Bodies(node.frames, second)
        contacts = anchored(model, still, bodies, ahead)
        now, end = touch(model, contacts, bodies), touch(model, contacts, trial.frames)
        at = node._replace(contacts=framed(model, contacts, now), point=contact_points(now))
        screw = jnp.stack([_screw(at, k) for k in range(1 + model.topology.tangents)])
        return now.gap, end.gap, screw

    def along(twist: Array) -> tuple[Array, Array, Array]:
        return jax.jvp(at_start, (every,), (every.moved_by(twist),))[1]

    gap, end, screw = jax.vmap(along)(eye(model.dtype, 6))
    return _Local(gap, end, jnp.moveaxis(screw, 0, 1))


def _pull_rates(model: Model, at: Solved, local: _Local) -> tuple[Array, Array]:
    """Rates of what contact impulses do to the balance, by q_k and by v_k: (nv, nv) each."""
    node, h = at.node, model.timestep
    nc, nf = node.weight.shape[0], node.contacts.friction.sliding.shape[0]
    links, b = contact_links(model, node.contacts), padded(at.b[:, :nf], nc)
    impulse = node.weight * jnp.concatenate([at.gamma[None, :nc], b])
    wrench = total(impulse[:, None] * jnp.stack([_screw(node, k) for k in range(len(impulse))]))
    answer = total(impulse[:, None, None] * local.screws)
    moves = jnp.asarray(model.topology.moves, model.dtype)
    on_link = jnp.asarray(np.eye(model.topology.nl + 1)[:, :-1], model.dtype)
    first, second = (on_link[link] for link in links)
    by_q = joint_axes_rate(model, node.axes, contract(wrench, second - first))
    # The wrenches' own rates (6, nc, nv): with the first body, and with the second against it.
    own, apart = moves[links[0]], contact_moves(model, node.contacts).T
    along = force_cross(node.axes[:, None], wrench[..., None]) * own
    rate = along + contract(answer.transpose(1, 2, 0), node.axes) * apart
    on_dofs = node.axes.T[..., None] * apart.T[:, None]
    by_q = by_q + contract(on_dofs.reshape(model.nv, -1), rate.reshape(-1, model.nv))
    # The share that acts, where it fades with the distance.
    work = node.rows.dense(model.nv)
    whole = work[:, :nc] * at.gamma[:nc]
    sides = work[:, nc:].reshape(model.nv, len(at.b), nf) * at.b[:, :nf]
    sides = total(sides.swapaxes(0, 1))
    whole = whole + padded(sides, nc)
    approach = node.rows.speed(node.v)[:nc]
    by_gap, by_change = _nearness_rates(node.gap[:nc], h * approach)
    twists, screws = _link_velocities(model, node, node.v), (_screw(node, 0), local.screws[0])
    normal = velocity_rate(model, links, node.axes, twists, node.v, screws)
    by_gap = by_gap * contract(node.axes.T, local.gap) * contact_moves(model, node.contacts)
    share = by_gap + h * by_change * normal
    return by_q + contract(whole, share.T), contract(whole, (h * by_change * work[:, :nc]).T)


def _nearness_rates(gap: Array, change: Array) -> tuple[Array, Array]:
    one, zero = jnp.ones_like(gap), jnp.zeros_like(gap)
    _, by_gap = jax.jvp(nearness, (gap, change), (one, zero))
    _, by_change = jax.jvp(nearness, (gap, change), (zero, one))
    return by_gap, by_change
