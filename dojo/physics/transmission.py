"""What actuators and tendons pull on: lengths, and their rates as rows of the degrees of freedom.

An actuator on a hinge or slide joint acts on one degree of freedom; the others, and tendons, have a
row of all of them. Gears are included. Conventions: MuJoCo's (length zero at sites and free
joints).
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import contract, cross, dot, matvec
from dojo.model.layout import assemble, take
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.kinematics import Frames, attached
from dojo.physics.tendons import tendon_lengths


class Transmissions(NamedTuple):
    """Actuators by what they act on."""

    scalar: np.ndarray  # hinge and slide joints
    tendon: np.ndarray
    ball: np.ndarray
    free: np.ndarray
    site: np.ndarray

    @property
    def wide(self) -> np.ndarray:
        """Those with a row of their own, in the order of these rows."""
        return np.concatenate([self.tendon, self.ball, self.free, self.site])


@functools.lru_cache(maxsize=64)
def transmissions(topology: Topology) -> Transmissions:
    """The actuators of a topology by kind."""
    a = topology.actuators
    kinds = np.array([topology.joint_kind[j] if j >= 0 else "" for j in a.joint], dtype="<U6")
    return Transmissions(
        scalar=np.flatnonzero((kinds == "hinge") | (kinds == "slide")),
        tendon=np.flatnonzero(a.tendon >= 0),
        ball=np.flatnonzero(kinds == "ball"),
        free=np.flatnonzero(kinds == "free"),
        site=np.flatnonzero(a.site_link >= -1),
    )


def lengths(model: Model, q: Array, frames: Frames) -> Array:
    """Lengths of all actuators times their gears, (nu,)."""
    t, of = model.topology, transmissions(model.topology)
    if not model.nu:
        return jnp.zeros(0, model.dtype)
    gear = model.actuator_gear.T
    scalar = take(q, t.q_start[t.actuators.joint[of.scalar]])
    quat = q[_joint_places(t.q_start, t.actuators.joint[of.ball], 4)]
    ball = dot(gear[:3, of.ball], rotations.logarithm(quat))
    none = jnp.zeros(len(of.free) + len(of.site), q.dtype)
    pulled = t.actuators.tendon[of.tendon]
    tendon = tendon_lengths(model, q, frames)[pulled] if len(pulled) else none[:0]
    parts = [
        (of.scalar, gear[0, of.scalar] * scalar),
        (of.tendon, gear[0, of.tendon] * tendon),
        (of.ball, ball),
        (np.concatenate([of.free, of.site]), none),
    ]
    return assemble(parts, model.nu)


def wide_rows(model: Model, tendons: Array, frames: Frames, axes: Array) -> Array:
    """Rates of the lengths of the actuators `Transmissions.wide`, (k, nv).

    tendons: those of the tendons, (nt, nv).
    """
    t, of = model.topology, transmissions(model.topology)
    gear = model.actuator_gear
    tendon = gear[of.tendon, :1] * tendons[t.actuators.tendon[of.tendon]]
    ball = _on_joints(model, t.actuators.joint[of.ball], gear[of.ball, :3])
    free = _on_joints(model, t.actuators.joint[of.free], gear[of.free])
    return jnp.concatenate([tendon, ball, free, _on_sites(model, frames, axes)])


def _on_joints(model: Model, joints: np.ndarray, gear: Array) -> Array:
    """Rows with the gears (k, 3 or 6) on the degrees of freedom of the joints, (k, nv)."""
    width = gear.shape[1]
    places = _joint_places(model.topology.v_start, joints, width).T
    at = np.arange(len(joints))[:, None]
    return jnp.zeros((len(joints), model.nv), gear.dtype).at[at, places].set(gear)


def _joint_places(start: np.ndarray, joints: np.ndarray, width: int) -> np.ndarray:
    """Places of the components of joints, (width, k)."""
    return start[joints][None] + np.arange(width)[:, None]


def _on_sites(model: Model, frames: Frames, axes: Array) -> Array:
    """Rows of forces and torques, their gears in the axes of sites on links: (k, nv)."""
    t, of = model.topology, transmissions(model.topology)
    link, gear = t.actuators.site_link[of.site], model.actuator_gear[of.site].T
    at = attached(model, frames, link, model.actuator_pos[of.site], model.actuator_quat[of.site])
    force, torque = matvec(at.rot, gear[:3]), matvec(at.rot, gear[3:])
    screw = jnp.concatenate([torque + cross(at.pos, force), force])
    moved = jnp.asarray(t.moves[link], model.dtype)
    return contract(axes.T, screw).T * moved
