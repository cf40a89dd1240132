"""What sensors look at: a state, and the step that led to it."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import contract, cross, diagonal, matvec, matvec_t
from dojo.model.model import Model
from dojo.model.sensor import Subtree
from dojo.model.state import State
from dojo.physics.equality import pair_screws
from dojo.physics.forces import actuator_forces
from dojo.physics.inertia import centers_of_mass, mass_matrix_at, shifted, spatial_inertia
from dojo.physics.kinematics import (
    Frames,
    attached,
    interval_velocity,
    link_frames,
    link_twists,
    local_maps,
    motion_axes,
)
from dojo.report import StepInfo


class Scene(NamedTuple):
    """Everything at one state."""

    model: Model
    state: State
    frames: Frames
    axes: Array  # (6, nv)
    twists: Array  # (6, nl + 1) of the links, the world last
    placed: Frames  # of the sensors

    @classmethod
    def at(cls, model: Model, state: State) -> "Scene":
        maps = local_maps(model)
        frames = link_frames(model, maps, state.q)
        axes = motion_axes(model, maps, frames)
        twists = link_twists(model, axes, state.v)
        twists = jnp.concatenate([twists, jnp.zeros((6, 1), axes.dtype)], axis=1)
        link = model.topology.sensor_link
        placed = attached(model, frames, link, model.sensor_pos, model.sensor_quat)
        return cls(model, state, frames, axes, twists, placed)

    def rot(self, k: int) -> Array:
        """Orientation (3, 3) of a frame, -1 the world."""
        return self.placed.rot[:, :, k] if k >= 0 else jnp.eye(3, dtype=self.model.dtype)

    def pos(self, k: int) -> Array:
        """Place (3,) of a frame [m]."""
        return self.placed.pos[:, k] if k >= 0 else jnp.zeros(3, self.model.dtype)

    def spin(self, k: int) -> Array:
        """Angular velocity (3,) of a frame, world axes [rad/s]."""
        return self._twist(k)[:3]

    def speed(self, k: int) -> Array:
        """Linear velocity (3,) of a frame's origin, world axes [m/s]."""
        twist = self._twist(k)
        return twist[3:] + cross(twist[:3], self.pos(k))

    def _twist(self, k: int) -> Array:
        return self.twists[:, self.model.topology.sensor_link[k] if k >= 0 else -1]

    def masses(self, of: Subtree) -> tuple[Array, Array]:
        """Masses (k + 1,) and centres of mass (3, k + 1) of a subtree's links and its share."""
        share = jnp.asarray(of.com, self.model.dtype)[:, None]
        if of.link >= 0:
            share = self.frames.pos[:, [of.link]] + matvec(self.frames.rot[..., [of.link]], share)
        centers = centers_of_mass(self.model, self.frames)[:, of.links]
        masses = jnp.append(self.model.link_mass[of.links], self._share(of))
        return masses, jnp.concatenate([centers, jnp.broadcast_to(share, (3, 1))], axis=1)

    def _share(self, of: Subtree) -> Array | float:
        """Mass of the share of a link [kg]; it follows the link's."""
        return of.share * self.model.link_mass[of.link] if of.link >= 0 else of.share

    def center(self, of: Subtree) -> Array:
        """Centre of mass (3,) of a subtree [m]."""
        masses, centers = self.masses(of)
        mass = jnp.sum(masses)
        massless = jnp.mean(centers[:, -1:] if of.link >= 0 else centers, axis=1)
        return jnp.where(mass > 0, contract(centers, masses) / or_one(mass), massless)

    def momentum(self, of: Subtree) -> Array:
        """Spatial momentum (6,) of a subtree about the world origin, angular part first."""
        of_links = spatial_inertia(self.model, self.frames).times(self.twists[:, :-1])
        total = jnp.sum(of_links[:, of.links], axis=1)
        if of.link < 0:
            return total
        rot = self.frames.rot[:, :, of.link]
        masses, centers = self.masses(of)
        center = centers[:, -1:]
        inertia = masses[-1] * jnp.asarray(of.gyration, rot.dtype)
        turn = contract(contract(rot, inertia), rot.T)
        share = shifted(turn[..., None], masses[-1:], center, center)
        return total + share.times(self.twists[:, [of.link]])[:, 0]


class StepTaken(NamedTuple):
    """The step that led to a state."""

    before: Scene
    after: Scene
    info: StepInfo
    input: Array  # (nu,) what drives the actuators
    wrench: Array | None  # (nl, 6)

    def change(self, of: Callable[[Scene], Array]) -> Array:
        """Mean rate of something over the step."""
        return (of(self.after) - of(self.before)) / self.after.model.timestep

    def actuation(self) -> tuple[Array, Array]:
        """Forces of the actuators (nu,), and on the degrees of freedom (nv,)."""
        model, at = self.before.model, self.before
        inertia = diagonal(mass_matrix_at(model, at.frames, at.axes))
        start, place = (at.state.q, at.state.v), (at.frames, at.axes)
        speed = interval_velocity(model, at.state.q, self.after.state.q)
        return actuator_forces(model, start, self.input, inertia, place)(speed)

    def contact_impulses(self) -> Array:
        """World impulses (6, nc) on the second bodies about the origin, angular part first."""
        c = self.info.contacts
        axes, turns = jnp.moveaxis(c.frame, 0, -1), c.impulse.T[3:]
        force = matvec_t(axes, c.impulse.T[:3])
        torque = matvec_t(axes, jnp.zeros_like(force).at[: len(turns)].set(turns))
        return jnp.concatenate([torque + cross(c.point.T, force), force])

    def external(self, of: Subtree) -> Array:
        """Mean spatial force (6,) on a subtree by what is no part of it, but for its joint."""
        model, at = self.before.model, self.before
        masses, centers = at.masses(of)
        weight = masses * model.gravity[:, None]
        total = jnp.sum(jnp.concatenate([cross(centers, weight), weight]), axis=1)
        if self.wrench is not None:
            force, torque = self.wrench[of.links, :3].T, self.wrench[of.links, 3:].T
            pushed = torque + cross(centers[:, :-1], force)
            total = total + jnp.sum(jnp.concatenate([pushed, force]), axis=1)
        first, second = self.info.contacts.geoms.T
        inside = jnp.asarray(of.geoms, model.dtype)
        impulse = contract(self.contact_impulses(), inside[second] - inside[first])
        return total + (impulse + self._joined(of)) / model.timestep

    def _joined(self, of: Subtree) -> Array:
        """Impulse (6,) of the equality constraints that join the subtree to others."""
        model, t = self.before.model, self.before.model.topology.equalities
        if not len(t.first):
            return jnp.zeros(6, model.dtype)
        inside = np.isin(np.arange(-1, model.topology.nl), of.links).astype(float)
        across = jnp.asarray(inside[t.first + 1] - inside[t.second + 1], model.dtype)
        impulse = self.info.equality_impulse
        places, turns = 3 * len(t.first), 3 * int(t.welded.sum())
        groups = (impulse[:places], across), (impulse[places:][:turns], across[t.welded])
        screws = pair_screws(model, self.before.frames)
        parts = [
            jnp.sum(screw * (part.reshape(3, -1) * by), axis=(1, 2))
            for screw, (part, by) in zip(screws, groups, strict=True)
        ]
        return parts[0] + parts[1]


def or_one(mass: Array) -> Array:
    """A mass to divide by, where there is none as well."""
    return jnp.where(mass > 0, mass, 1.0)
