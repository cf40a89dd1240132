"""Forward kinematics, motion axes, and the configuration manifold.

Link frames compose along the tree by pointer doubling: after round k every link holds its pose
relative to its 2^k-th ancestor, so the graph grows with the logarithm of the depth, not with links.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import (
    contract,
    cross,
    dot,
    eye,
    matmat,
    matvec,
    reduced,
    skew,
    total,
    transpose,
)
from dojo.model.layout import assemble, entries, layout, take
from dojo.model.model import Model
from dojo.model.state import normalize_configuration
from dojo.model.topology import Topology


class Frames(NamedTuple):
    """World poses of the links."""

    pose: Array  # (3, 4, nl): the rotation, and the position [m] as last column

    @classmethod
    def of(cls, rot: Array, pos: Array) -> "Frames":
        """Frames with these rotations (3, 3, nl) and positions (3, nl)."""
        return cls(jnp.concatenate([rot, pos[:, None]], axis=1))

    @property
    def rot(self) -> Array:
        """(3, 3, nl)"""
        return self.pose[:, :3]

    @property
    def pos(self) -> Array:
        """(3, nl) [m]"""
        return self.pose[:, 3]

    def with_world(self) -> "Frames":
        """The same, and the world's own as last: where geoms fixed to it are to move as well."""
        return Frames(jnp.append(self.pose, eye(self.pose.dtype, 3, 4)[..., None], axis=-1))

    def moved_by(self, twist: Array) -> "Frames":
        """Rate of the poses when links have this world twist (6,), or each its own (6, nl)."""
        turn, place = (x.reshape(3, 1, -1) for x in (twist[:3], twist[3:]))
        position = eye(twist.dtype, 1, 4, 3)[:, :, None]
        return Frames(cross(turn, self.pose) + place * position)


class LocalMaps(NamedTuple):
    """What turns q into joint transforms, constant for a model.

    A scalar joint at q turns by R0 + sin(q) R1 + (1 - cos(q)) R2 and moves by p0 + q p1; hinge and
    slide differ in which of R1, R2, p1 vanish.
    """

    rest_pos: Array  # (3, nl)
    rest_rot: Array  # (3, 3, nl)
    sine_rot: Array  # (3, 3, k)
    cosine_rot: Array  # (3, 3, k)
    slide_pos: Array  # (3, k)
    anchor: Array  # (3, nl)
    center: Array  # (3, nl) rest_pos + rest_rot anchor
    axis: Array  # (3, k)
    ref: Array  # (k,)
    hinge: Array  # (k,) 1 for hinges, 0 for slides


def local_maps(model: Model) -> LocalMaps:
    """Prepare the joint transforms of a model."""
    table = layout(model.topology)
    s = table.scalar
    hinge = np.array([model.topology.joint_kind[j] == "hinge" for j in s], dtype=float)
    turns = jnp.asarray(hinge, model.dtype)
    rest_rot = rotations.to_matrix(rotations.normalize(model.link_quat.T))
    axis = model.joint_axis[s].T
    axis = axis / jnp.sqrt(dot(axis, axis))
    spin = skew(axis) * turns
    anchor = model.joint_anchor.T
    return LocalMaps(
        rest_pos=model.link_pos.T,
        rest_rot=rest_rot,
        sine_rot=matmat(take(rest_rot, s), spin),
        cosine_rot=matmat(take(rest_rot, s), matmat(spin, spin)),
        slide_pos=matvec(take(rest_rot, s), axis) * (1 - turns),
        anchor=anchor,
        center=model.link_pos.T + matvec(rest_rot, anchor),
        axis=axis,
        ref=model.joint_ref[s],
        hinge=turns,
    )


def link_frames(model: Model, maps: LocalMaps, q: Array) -> Frames:
    """World poses of all links; quaternions in q must be unit."""
    pose = _joint_transforms(model, maps, q)
    for parents in _ancestor_rounds(model.topology):
        above = pose[:, :, np.maximum(parents, 0)]
        pose = jnp.where(jnp.asarray(parents >= 0), _composed(above, pose), pose)
    return Frames(pose)


def _composed(a: Array, b: Array) -> Array:
    """The pose (3, 4, n) of what has pose b in a frame of pose a."""
    position = eye(a.dtype, 1, 4, 3)[:, :, None]
    return reduced(a[:, :3, None] * b[None], 1) + a[:, 3:] * position


def _joint_transforms(model: Model, maps: LocalMaps, q: Array) -> Array:
    """Poses of the links in their parents, (3, 4, nl)."""
    table = layout(model.topology)
    s, ball, nl = table.scalar, table.ball, model.topology.nl
    angle = take(q, table.scalar_q) - maps.ref
    scalar_rot = (
        take(maps.rest_rot, s)
        + jnp.sin(angle) * maps.sine_rot
        + (1 - jnp.cos(angle)) * maps.cosine_rot
    )
    scalar_pos = (
        take(maps.center, s) + angle * maps.slide_pos - matvec(scalar_rot, take(maps.anchor, s))
    )
    turned = rotations.to_matrix(take(q, table.quat_q))
    ball_rot = matmat(take(maps.rest_rot, ball), turned[:, :, : len(ball)])
    ball_pos = take(maps.center, ball) - matvec(ball_rot, take(maps.anchor, ball))
    free_rot = turned[:, :, len(ball) :]
    parts = [
        (s, Frames.of(scalar_rot, scalar_pos).pose),
        (ball, Frames.of(ball_rot, ball_pos).pose),
        (table.free, Frames.of(free_rot, take(q, table.place_q)).pose),
        (table.mocap, _mocap_frames(take(q, table.mocap_q)).pose),
    ]
    return assemble(parts, nl)


def _mocap_frames(poses: Array) -> Frames:
    """Frames at positions and unit quaternions (7, k)."""
    return Frames.of(rotations.to_matrix(poses[3:]), poses[:3])


@functools.lru_cache(maxsize=64)
def _ancestor_rounds(topology: Topology) -> tuple[np.ndarray, ...]:
    """For each round the link to compose with, -1 where the pose is complete."""
    rounds = []
    parents = topology.parent
    while (parents >= 0).any():
        rounds.append(parents)
        parents = np.where(parents >= 0, parents[np.maximum(parents, 0)], -1)
    return tuple(rounds)


def motion_axes(model: Model, maps: LocalMaps, frames: Frames) -> Array:
    """World twist of each degree of freedom at unit velocity: (6, nv), angular part first."""
    table = layout(model.topology)
    s = table.scalar
    center = frames.pos + matvec(frames.rot, maps.anchor)
    axis = matvec(take(frames.rot, s), maps.axis)
    scalar = jnp.concatenate(
        [axis * maps.hinge, cross(take(center, s), axis) * maps.hinge + axis * (1 - maps.hinge)]
    )
    spinning = table.spinning
    body = take(frames.rot, spinning)  # columns are the axes of the spin components
    spin = jnp.concatenate([body, cross(take(center, spinning)[:, None], body)])
    unit = eye(model.dtype, 6, 3, -3)[:, :, None]
    place = jnp.broadcast_to(unit, (6, 3, len(table.free)))
    return assemble(
        [(table.scalar_v, scalar), (table.spin_v, spin), (table.place_v, place)], model.nv
    )


def integrate(model: Model, q: Array, dq: Array) -> Array:
    """q moved by the tangent vector dq (nv,), rotations by the Cayley map of half of it."""
    table = layout(model.topology)
    turned = rotations.multiply(
        take(q, table.quat_q), rotations.cayley(0.5 * take(dq, table.spin_v))
    )
    return _joined(model, q, dq, turned)


def interval_velocity(model: Model, q: Array, q_to: Array) -> Array:
    """The velocity (nv,) of a timestep that leads from q to q_to: the inverse of `integrate`."""
    table = layout(model.topology)
    back = rotations.conjugate(take(q, table.quat_q))
    turned = rotations.to_matrix(rotations.multiply(back, take(q_to, table.quat_q)))
    way = assemble(
        [
            (table.scalar_v, take(q_to, table.scalar_q) - take(q, table.scalar_q)),
            (table.spin_v, 2.0 * rotations.cayley_vector(turned)),
            (table.place_v, take(q_to, table.place_q) - take(q, table.place_q)),
        ],
        model.nv,
    )
    return way / model.timestep


def displace(model: Model, q: Array, dq: Array) -> Array:
    """q moved by the tangent vector dq (nv,) along the exponential map: mj_integratePos."""
    table = layout(model.topology)
    turned = rotations.multiply(
        take(q, table.quat_q), rotations.exponential(take(dq, table.spin_v))
    )
    return _joined(model, q, dq, turned)


def _joined(model: Model, q: Array, dq: Array, turned: Array) -> Array:
    table = layout(model.topology)
    return assemble(
        [
            (table.scalar_q, take(q, table.scalar_q) + take(dq, table.scalar_v)),
            (table.quat_q, turned),
            (table.place_q, take(q, table.place_q) + take(dq, table.place_v)),
            (table.mocap_q, take(q, table.mocap_q)),
        ],
        model.nq,
    )


def difference(model: Model, q: Array, q_to: Array) -> Array:
    """Tangent vector (nv,) that leads from q to q_to: mj_differentiatePos."""
    table = layout(model.topology)
    relative = rotations.multiply(
        rotations.conjugate(take(q, table.quat_q)), take(q_to, table.quat_q)
    )
    return assemble(
        [
            (table.scalar_v, take(q_to, table.scalar_q) - take(q, table.scalar_q)),
            (table.spin_v, rotations.logarithm(relative)),
            (table.place_v, take(q_to, table.place_q) - take(q, table.place_q)),
        ],
        model.nv,
    )


def step_axes(model: Model, axes: Array, dq: Array) -> Array:
    """World twist per unit change of dq, at the end of `integrate(q, dq)`: (6, nv).

    `axes` are those of the end configuration.
    """
    return _spun(model, axes, _cayley_rate(model, dq))


def integration_rates(model: Model, dq: Array) -> tuple[Array, Array]:
    """Change of the tangent vector at the end of `integrate(q, dq)` with q's and with dq's.

    (nv, nv) each: what was a rotation in body axes at the start is one in those of the end.
    """
    unit = eye(model.dtype, model.nv)
    y = 0.5 * take(dq, layout(model.topology).spin_v)
    back = transpose(rotations.to_matrix(rotations.cayley(y)))
    return _spun(model, unit, back), _spun(model, unit, _cayley_rate(model, dq))


def _cayley_rate(model: Model, dq: Array) -> Array:
    """Body-frame rate of the Cayley map of y = dq / 2: (I - [y]) / (1 + |y|^2), (3, 3, k)."""
    y = 0.5 * take(dq, layout(model.topology).spin_v)
    return (eye(dq.dtype, 3)[:, :, None] - skew(y)) / (1 + dot(y, y))


def _spun(model: Model, x: Array, matrix: Array) -> Array:
    """x (..., nv) times a matrix (3, 3, k) for each joint that has a quaternion."""
    table = layout(model.topology)
    if not table.spinning.size:
        return x
    spin = take(x, table.spin_v)  # (..., 3, k)
    turned = total(spin[..., :, None, :] * matrix, axis=-3)
    rest = [(part, take(x, part)) for part in (table.scalar_v, table.place_v)]
    return assemble([*rest, (table.spin_v, turned)], model.nv)


def turning(model: Model) -> Array:
    """1 for axes that turn with their link, 0 for the world-fixed ones of places: (nv,)."""
    turns = np.ones(model.nv)
    turns[layout(model.topology).place_v] = 0.0
    return jnp.asarray(turns, model.dtype)


def link_twists(model: Model, axes: Array, v: Array) -> Array:
    """World twist of each link at the world origin, (6, nl)."""
    moves = jnp.asarray(model.topology.moves[:-1], axes.dtype)
    return contract(axes * v, moves.T)


class Poses(NamedTuple):
    """World poses of the links, one row each."""

    pos: Array  # (nl, 3) [m]
    rot: Array  # (nl, 3, 3)


def forward_kinematics(model: Model, q: Array) -> Poses:
    """World poses of the link frames at q (nq,): positions (nl, 3) [m], rotations (nl, 3, 3).

    A link's frame is MuJoCo's body frame; a body with several joints has a link for each, the
    last being the body's own.
    """
    return _link_poses(model, normalize_configuration(model, jnp.asarray(q)))


@functools.partial(jax.jit, inline=True)
def _link_poses(model: Model, q: Array) -> Poses:
    frames = link_frames(model, local_maps(model), q)
    return Poses(frames.pos.T, jnp.moveaxis(frames.rot, -1, 0))


def geom_frames(model: Model, frames: Frames, geoms: np.ndarray | Array) -> Frames:
    """World poses of geoms by their indices (k,): (3, k) and (3, 3, k)."""
    link = entries(model.topology.geom_link, geoms)
    return attached(model, frames, link, model.geom_pos[geoms], model.geom_quat[geoms])


def attached(
    model: Model, frames: Frames, link: np.ndarray | Array, pos: Array, quat: Array
) -> Frames:
    """World poses of frames that links carry (-1: the world), at pos (k, 3), quat (k, 4) there."""
    local = Frames.of(rotations.to_matrix(rotations.normalize(quat.T)), pos.T)
    if not model.topology.nl:
        return local
    if frames.pose.shape[-1] > model.topology.nl:
        return Frames(_composed(frames.pose[:, :, link], local.pose))
    moving = link >= 0
    pose = _composed(frames.pose[:, :, moving * link], local.pose)
    return Frames(jnp.where(jnp.asarray(moving), pose, local.pose))


def frame_poses(model: Model, q: Array) -> Poses:
    """World poses of the named frames at q (nq,): positions (nf, 3) [m], rotations (nf, 3, 3).

    `model.frame("gripper")` is the row of a body or a site. Bodies that are fixed to others, and
    merged into a link, keep theirs.
    """
    return _frame_poses(model, normalize_configuration(model, jnp.asarray(q)))


@functools.partial(jax.jit, inline=True)
def _frame_poses(model: Model, q: Array) -> Poses:
    frames = link_frames(model, local_maps(model), q)
    at = attached(model, frames, model.topology.frame_link, model.frame_pos, model.frame_quat)
    return Poses(at.pos.T, jnp.moveaxis(at.rot, -1, 0))


def geom_poses(model: Model, q: Array) -> Poses:
    """World poses of all geoms at q (nq,): positions (ng, 3) [m], rotations (ng, 3, 3)."""
    return _geom_poses(model, normalize_configuration(model, jnp.asarray(q)))


@functools.partial(jax.jit, inline=True)
def _geom_poses(model: Model, q: Array) -> Poses:
    geoms = np.arange(len(model.topology.geom_kind))
    frames = geom_frames(model, link_frames(model, local_maps(model), q), geoms)
    return Poses(frames.pos.T, jnp.moveaxis(frames.rot, -1, 0))
