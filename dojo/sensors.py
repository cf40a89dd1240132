"""What sensors measure: a function of the model, a state and, for forces, of the step before it.

Kinds, frames, units and signs are MuJoCo's. Accelerations, forces and torques are means over a
step: changes of velocity and momentum, and impulses, over the timestep.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.math import rotations
from dojo.math.vectors import contract, cross, diagonal, matvec, matvec_t
from dojo.metrics import energy
from dojo.model.model import Model
from dojo.model.sensor import Sensor, Subtree
from dojo.model.state import State, normalize_configuration
from dojo.physics.activation import driven
from dojo.physics.equality import pair_screws
from dojo.physics.forces import actuator_forces, actuator_speeds
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
from dojo.physics.tendons import tendon_lengths, tendon_rates
from dojo.physics.transmission import lengths, wide_rows
from dojo.physics.zones import ray_meets
from dojo.report import StepInfo
from dojo.step import checked


class _Scene(NamedTuple):
    """Everything at one state."""

    model: Model
    state: State
    frames: Frames
    axes: Array  # (6, nv)
    twists: Array  # (6, nl + 1) of the links, the world last
    placed: Frames  # of the sensors

    @classmethod
    def at(cls, model: Model, state: State) -> "_Scene":
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
        masses = jnp.append(self.model.link_mass[of.links], of.mass)
        return masses, jnp.concatenate([centers, jnp.broadcast_to(share, (3, 1))], axis=1)

    def center(self, of: Subtree) -> Array:
        """Centre of mass (3,) of a subtree [m]."""
        masses, centers = self.masses(of)
        return contract(centers, masses) / jnp.sum(masses)

    def momentum(self, of: Subtree) -> Array:
        """Spatial momentum (6,) of a subtree about the world origin, angular part first."""
        of_links = spatial_inertia(self.model, self.frames).times(self.twists[:, :-1])
        total = jnp.sum(of_links[:, of.links], axis=1)
        if of.link < 0:
            return total
        rot = self.frames.rot[:, :, of.link]
        turn = contract(contract(rot, jnp.asarray(of.inertia, rot.dtype)), rot.T)
        masses, centers = self.masses(of)
        center = centers[:, -1:]
        share = shifted(turn[..., None], masses[-1:], center, center)
        return total + share.times(self.twists[:, [of.link]])[:, 0]


class _Step(NamedTuple):
    """The step that led to a state."""

    before: _Scene
    after: _Scene
    info: StepInfo
    input: Array  # (nu,) what drives the actuators
    wrench: Array | None  # (nl, 6)

    def change(self, of: Callable[[_Scene], Array]) -> Array:
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


def sensor_data(
    model: Model,
    state: State,
    *,
    before: State | None = None,
    info: StepInfo | None = None,
    u: ArrayLike | None = None,
    wrench: ArrayLike | None = None,
) -> Array:
    """What the sensors of the file read at a state, or in the step that led to it.

    Pure; works under jit, vmap, grad. `data[model.sensor("imu")]` is one sensor's; the order is
    that of MuJoCo's `sensordata`, without the sensors that a note of the model names.
    Accelerations, forces and torques are means over the step, which is to be given for them. Noise
    is not added.

    Args:
        model: the robot.
        state: the state.
        before: the state that the step began with, for accelerations, forces and torques.
        info: what the step reported, likewise.
        u: controls (nu,) of the step, likewise; None is zero.
        wrench: external forces (nl, 6) of the step.

    Returns:
        (n,), n the sum of `sensor.size` over `model.topology.sensors`.

    Raises:
        ValueError: wrong shapes; a sensor needs `before` and `info`.
    """
    scene = _Scene.at(model, _state(model, state))
    step = None
    if before is not None and info is not None:
        inputs = checked(model, before, u, wrench)
        drive = driven(model, inputs.u, inputs.act)
        start = _Scene.at(model, _state(model, before))
        step = _Step(start, scene, info, drive.input, inputs.wrench)
    parts = [_reading(scene, step, sensor) for sensor in model.topology.sensors]
    return jnp.concatenate([jnp.zeros(0, model.dtype), *parts])


def _state(model: Model, state: State) -> State:
    """The state, its shapes checked and its quaternions of unit length."""
    inputs = checked(model, state, None, None)
    return State(normalize_configuration(model, inputs.q), inputs.v, inputs.act)


def _reading(scene: _Scene, step: _Step | None, sensor: Sensor) -> Array:
    if sensor.kind in _OF_STATES:
        value = _OF_STATES[sensor.kind](scene, sensor)
    elif step is not None:
        value = _OF_STEPS[sensor.kind](step, sensor)
    else:
        raise ValueError(
            f"sensor_data: sensor {sensor.name!r} ({sensor.kind}) is measured over a step: give "
            "`before`, the state that the step began with, and its `info`; actuators need its `u`."
        )
    value = jnp.atleast_1d(value)
    if not sensor.cutoff or sensor.kind in _UNCUT:
        return value
    return jnp.clip(value, -sensor.cutoff, sensor.cutoff)


def _joint(scene: _Scene, s: Sensor, of_v: bool) -> Array:
    t, x = scene.model.topology, scene.state.v if of_v else scene.state.q
    start = t.v_start if of_v else t.q_start
    return x[int(start[s.index]) : int(start[s.index + 1])]


def _relative(scene: _Scene, s: Sensor, world: Array) -> Array:
    """A vector in the axes of the frame that a sensor measures in."""
    return matvec_t(scene.rot(s.reference), world)


def _frame_pos(scene: _Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.pos(s.frame) - scene.pos(s.reference))


def _frame_quat(scene: _Scene, s: Sensor) -> Array:
    return rotations.from_matrix(contract(scene.rot(s.reference).T, scene.rot(s.frame)))


def _frame_axis(axis: int, scene: _Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.rot(s.frame)[:, axis])


def _frame_lin_vel(scene: _Scene, s: Sensor) -> Array:
    speed = scene.speed(s.frame)
    if s.reference >= 0:
        arm = scene.pos(s.frame) - scene.pos(s.reference)
        speed = speed - scene.speed(s.reference) - cross(scene.spin(s.reference), arm)
    return _relative(scene, s, speed)


def _frame_ang_vel(scene: _Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.spin(s.frame) - scene.spin(s.reference))


def _subtree_velocity(scene: _Scene, s: Sensor) -> Array:
    assert s.subtree is not None
    return scene.momentum(s.subtree)[3:] / jnp.sum(scene.masses(s.subtree)[0])


def _subtree_spin(scene: _Scene, s: Sensor) -> Array:
    """Angular momentum about the subtree's own centre of mass."""
    assert s.subtree is not None
    momentum = scene.momentum(s.subtree)
    return momentum[:3] - cross(scene.center(s.subtree), momentum[3:])


def _subtree_center(scene: _Scene, s: Sensor) -> Array:
    assert s.subtree is not None
    return scene.center(s.subtree)


def _tendon_speed(scene: _Scene, s: Sensor) -> Array:
    return contract(tendon_rates(scene.model, scene.frames, scene.axes)[s.index], scene.state.v)


def _actuator_speed(scene: _Scene, s: Sensor) -> Array:
    model, tendons = scene.model, tendon_rates(scene.model, scene.frames, scene.axes)
    rows = wide_rows(model, tendons, scene.frames, scene.axes)
    return actuator_speeds(model, rows, scene.state.v)[s.index]


def _magnetic(scene: _Scene, s: Sensor) -> Array:
    field = jnp.asarray(scene.model.topology.magnetic_field, scene.model.dtype)
    return matvec_t(scene.rot(s.frame), field)


_OF_STATES: dict[str, Callable[[_Scene, Sensor], Array]] = {
    "jointpos": lambda scene, s: _joint(scene, s, of_v=False),
    "jointvel": lambda scene, s: _joint(scene, s, of_v=True),
    "ballquat": lambda scene, s: _joint(scene, s, of_v=False),
    "ballangvel": lambda scene, s: _joint(scene, s, of_v=True),
    "tendonpos": lambda scene, s: tendon_lengths(scene.model, scene.state.q, scene.frames)[s.index],
    "tendonvel": _tendon_speed,
    "actuatorpos": lambda scene, s: lengths(scene.model, scene.state.q, scene.frames)[s.index],
    "actuatorvel": _actuator_speed,
    "framepos": _frame_pos,
    "framequat": _frame_quat,
    "framexaxis": functools.partial(_frame_axis, 0),
    "frameyaxis": functools.partial(_frame_axis, 1),
    "framezaxis": functools.partial(_frame_axis, 2),
    "framelinvel": _frame_lin_vel,
    "frameangvel": _frame_ang_vel,
    "velocimeter": lambda scene, s: matvec_t(scene.rot(s.frame), scene.speed(s.frame)),
    "gyro": lambda scene, s: matvec_t(scene.rot(s.frame), scene.spin(s.frame)),
    "magnetometer": _magnetic,
    "subtreecom": _subtree_center,
    "subtreelinvel": _subtree_velocity,
    "subtreeangmom": _subtree_spin,
    "e_potential": lambda scene, s: energy(scene.model, scene.state).potential,
    "e_kinetic": lambda scene, s: energy(scene.model, scene.state).kinetic,
}
_UNCUT = {"ballquat", "framequat", "framexaxis", "frameyaxis", "framezaxis"}


def _acceleration(step: _Step, s: Sensor) -> Array:
    """Of a frame's origin against free fall, world axes: at rest it is upwards."""
    return step.change(lambda scene: scene.speed(s.frame)) - step.after.model.gravity


def _accelerometer(step: _Step, s: Sensor) -> Array:
    return matvec_t(step.after.rot(s.frame), _acceleration(step, s))


def _interaction(step: _Step, s: Sensor) -> Array:
    """Spatial force (6,) of the parent on a subtree, about the world origin."""
    of = s.subtree
    assert of is not None
    return step.change(lambda scene: scene.momentum(of)) - step.external(of)


def _force(step: _Step, s: Sensor) -> Array:
    return matvec_t(step.after.rot(s.frame), _interaction(step, s)[3:])


def _torque(step: _Step, s: Sensor) -> Array:
    interaction = _interaction(step, s)
    about = interaction[:3] - cross(step.after.pos(s.frame), interaction[3:])
    return matvec_t(step.after.rot(s.frame), about)


def _touch(step: _Step, s: Sensor) -> Array:
    """Normal forces of the body's contacts whose line meets the sensor's zone."""
    assert s.subtree is not None
    assert s.zone is not None
    c, model, scene = step.info.contacts, step.after.model, step.before
    own = jnp.asarray(s.subtree.own_geoms, model.dtype)
    first, second = own[c.geoms.T[0]], own[c.geoms.T[1]]
    # Out of the body that feels; of no other contact.
    way = c.frame[:, 0].T * (first - second)
    rot, pos = scene.rot(s.frame)[..., None], scene.pos(s.frame)[:, None]
    start = matvec_t(rot, c.point.T - pos)
    met = ray_meets(s.zone, start, matvec_t(rot, way))
    felt = jnp.where(met & (first != second), c.impulse[:, 0], 0.0)
    return jnp.sum(felt) / model.timestep


def _joint_actuation(step: _Step, s: Sensor) -> Array:
    return step.actuation()[1][step.after.model.topology.v_start[s.index]]


_OF_STEPS: dict[str, Callable[[_Step, Sensor], Array]] = {
    "accelerometer": _accelerometer,
    "framelinacc": _acceleration,
    "frameangacc": lambda step, s: step.change(lambda scene: scene.spin(s.frame)),
    "force": _force,
    "torque": _torque,
    "touch": _touch,
    "actuatorfrc": lambda step, s: step.actuation()[0][s.index],
    "jointactuatorfrc": _joint_actuation,
}
