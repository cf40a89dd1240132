"""Equality constraints: frames joined (connect, weld), scalar joints coupled by a polynomial.

They hold at the end of a step, their impulses act where it starts, and the velocity that it arrives
with keeps them: RATTLE (Andersen, J. Comput. Phys. 52 (1983) 24), symplectic like the rest. Rows:
place of the first frame in the second, three a pair; for welds the Cayley vector of its turn; the
couplings.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math import rotations
from dojo.math.vectors import (
    at_least,
    contract,
    cross,
    diagonal,
    eye,
    inverse_positive,
    matmat,
    matvec,
    outer,
    safe_norm,
    skew,
    solve_positive,
    total,
    transpose,
)
from dojo.model.layout import scalar_positions
from dojo.model.model import Model
from dojo.physics.kinematics import Frames, attached

# Rows that depend on each other, as in every planar loop, do so but for the digits of a file: what
# moves less than this share of what the rows move is none of them.
_DEPENDENT = 1e-5
# What impulses give way by, of what they move: nothing to be seen. By the bits of a float.
_GIVES = {64: 1e-12, 32: 1e-7}


class Bonds(NamedTuple):
    """The equality constraints at one configuration."""

    violation: Array  # (e,) [m or rad]
    rows: Array  # (e, nv) its rates
    answers: Array  # (nv, e) velocities per unit of impulse
    mobility: Array  # (e, e) velocities of the rows per unit of impulse
    compliance: Array  # (e, e) violation that remains per unit of impulse


def bonds(
    model: Model, frames: Frames, axes: Array, q: Array, solve: Callable[[Array], Array]
) -> Bonds:
    """The constraints at q with these link frames and motion axes.

    `solve` gives M^-1 of columns, M symmetric and positive.
    """
    rows = equality_rates(model, frames, axes, q)
    if not len(rows):
        none = jnp.zeros((0, 0), rows.dtype)
        return Bonds(jnp.zeros(0, rows.dtype), rows, rows.T, none, none)
    answers = solve(rows.T)
    mobility = contract(rows, answers)
    mobility = 0.5 * (mobility + mobility.T)
    gives = _gives(model, mobility)
    compliance = model.timestep * gives
    return Bonds(violation(model, frames, q), rows, answers, mobility + gives, compliance)


def violation(model: Model, frames: Frames, q: Array) -> Array:
    """What is to be zero, (e,) [m or rad]."""
    if not model.topology.ne:
        return jnp.zeros(0, model.dtype)
    first, second = _joined_frames(model, frames)
    apart = matvec(transpose(second.rot), first.pos - second.pos)
    turn = 2.0 * _turn(model, first, second)
    one, other = _lengths(model, q)
    coupled = one - _polynomial(model, other)[0]
    return jnp.concatenate([apart.ravel(), turn.ravel(), coupled])


def equality_rates(model: Model, frames: Frames, axes: Array, q: Array) -> Array:
    """Rates of `violation` by the degrees of freedom whose motion axes (6, nv) these are: (e, nv).

    The rates of a joined pair are screws: unit wrenches on the first link against the second.
    """
    t = model.topology.equalities
    if not len(t):
        return jnp.zeros((0, model.nv), model.dtype)
    push, twist = pair_screws(model, frames)
    moves = jnp.asarray(model.topology.moves, model.dtype)
    moved = moves[t.first] - moves[t.second]
    joined = [
        (contract(axes.T, screws.reshape(6, -1)) * jnp.concatenate(3 * [by]).T).T
        for screws, by in ((push, moved), (twist, moved[t.welded]))
    ]
    one, other = jnp.moveaxis(model.coupling_coefficients, 1, 0)
    slope = _polynomial(model, _lengths(model, q)[1])[1]
    return jnp.concatenate([*joined, one - slope[:, None] * other])


def pair_screws(model: Model, frames: Frames) -> tuple[Array, Array]:
    """World wrenches on the first links of joined pairs, by unit impulses: (6, 3, n) and (6, 3, k).

    Of the rows that hold places, and of those that hold turns.
    """
    first, second = _joined_frames(model, frames)
    push = jnp.concatenate([cross(first.pos[:, None], second.rot), second.rot])
    y, welded = _turn(model, first, second), second.rot[:, :, model.topology.equalities.welded]
    rate = eye(y.dtype, 3)[:, :, None] - skew(y) + outer(y, y)
    twist = matmat(welded, transpose(rate))
    return push, jnp.concatenate([twist, jnp.zeros_like(twist)])


def carried_rates(model: Model, frames: Frames, q: Array, twists: Array | None) -> Array:
    """Rates of `violation` when mocap bodies have these twists (6, nl), (e,)."""
    if twists is None or not model.topology.ne:
        return jnp.zeros(model.topology.ne, model.dtype)
    along = frames.moved_by(twists)
    return jax.jvp(lambda x: violation(model, x, q), (frames,), (along,))[1]


def remaining(model: Model, violation: Array, recovered: Array) -> Array:
    """What of a violation (e,) recovery leaves: `recovered` less of each distance and angle."""
    if not model.topology.ne:
        return violation
    places, turns, coupled = _groups(model, violation)

    def left(x: Array) -> Array:
        length = safe_norm(x)
        return x * (1.0 - recovered / at_least(length, recovered))

    # Of a turn the angle counts, whose Cayley vector grows faster.
    half = 0.5 * safe_norm(turns)
    angle = jnp.maximum(jnp.arctan(half) - 0.5 * recovered, 0.0)
    turned = turns * (jnp.tan(angle) / at_least(half, 0.5 * recovered))
    return jnp.concatenate([left(places).ravel(), turned.ravel(), left(coupled[None])[0]])


def solve_bound(
    solve: Callable[[Array], Array], rhs: Array, at: Bonds, wanted: Array | None = None
) -> tuple[Array, Array]:
    """x (nv, ...) with M x = rhs + rows^T y and rows x = wanted, default 0; and y (e, ...).

    `solve` gives M^-1 of a vector or of columns, the same M as that of the bonds.
    """
    free = solve(rhs)
    if not len(at.rows):
        return free, jnp.zeros((0, *rhs.shape[1:]), rhs.dtype)
    missing = -contract(at.rows, free)
    missing = missing if wanted is None else wanted + missing
    y = solve_positive(at.mobility, missing)
    return free + contract(at.answers, y), y


def _gives(model: Model, mobility: Array) -> Array:
    """Velocity that remains per unit of impulse, (e, e): of each share w of the mobility

        g + t (t / (w + t))^4

    with t below which rows depend on each other, g what all give; w = 1 where a row is alone.
    """
    # The same unit for the rows of a joined pair: one of them may move nothing.
    *pairs, coupled = _groups(model, diagonal(mobility))
    largest = [jnp.concatenate(3 * [group.max(axis=0)]) for group in pairs]
    unit = jnp.sqrt(at_least(jnp.concatenate([*largest, coupled])))
    share = mobility / (unit * unit[:, None])
    one = eye(share.dtype, len(share))
    weak = _DEPENDENT * inverse_positive(share + _DEPENDENT * one)
    weak = contract(weak, weak)
    gives = _GIVES[8 * model.dtype.itemsize] * one + _DEPENDENT * contract(weak, weak)
    return lax.stop_gradient(gives * (unit * unit[:, None]))


def _groups(model: Model, rows: Array) -> tuple[Array, Array, Array]:
    """What belongs to places (3, n), turns (3, k) and couplings, of (e,)."""
    t = model.topology.equalities
    places, pairs = 3 * len(t.first), len(t) - t.couplings
    return rows[:places].reshape(3, -1), rows[places:pairs].reshape(3, -1), rows[pairs:]


def _joined_frames(model: Model, frames: Frames) -> tuple[Frames, Frames]:
    """World poses of the first and the second frame of each pair."""
    t = model.topology.equalities
    links = (t.first, t.second)
    pos, quat = model.equality_pos, model.equality_quat
    first, second = (
        attached(model, frames, link, pos[:, k], quat[:, k]) for k, link in enumerate(links)
    )
    return first, second


def _turn(model: Model, first: Frames, second: Frames) -> Array:
    """Cayley vector of the first frames in the second ones, of welds: (3, k)."""
    welded = model.topology.equalities.welded
    return rotations.cayley_vector(
        matmat(transpose(second.rot[:, :, welded]), first.rot[:, :, welded])
    )


def _lengths(model: Model, q: Array) -> tuple[Array, Array]:
    """The two sums of joint positions of each coupling, (k,) each [rad or m]."""
    at = scalar_positions(model.topology, q)
    one, other = (contract(model.coupling_coefficients, at) - model.coupling_offset).T
    return one, other


def _polynomial(model: Model, x: Array) -> tuple[Array, Array]:
    """Value and slope of the couplings' polynomials at x (k,)."""
    c = model.coupling_polynomial.T
    powers = jnp.stack([x**k for k in range(len(c))])
    steps = jnp.arange(1, len(c), dtype=x.dtype)[:, None]
    return total(c * powers), total(steps * c[1:] * powers[:-1])
