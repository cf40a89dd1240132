"""What sensors measure: a function of the model, a state and, for forces, of the step before it.

Kinds, frames, units and signs are MuJoCo's. Accelerations, forces and torques are means over a
step: changes of velocity and momentum, and impulses, over the timestep.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dojo.math import rotations
from dojo.math.vectors import contract, cross, matvec_t
from dojo.metrics import energy
from dojo.model.model import Model
from dojo.model.sensor import Sensor, Subtree
from dojo.model.state import State, normalize_configuration
from dojo.physics.activation import driven
from dojo.physics.forces import actuator_speeds
from dojo.physics.tendons import tendon_lengths, tendon_rates
from dojo.physics.transmission import lengths, wide_rows
from dojo.physics.zones import ray_meets
from dojo.report import StepInfo
from dojo.sensing import Scene, StepTaken, or_one
from dojo.step import checked


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

    Forces, torques and touch are not a number after a step in parts of a model whose budget
    leaves contacts out (`topology.budgeted`): its report has the last part alone.

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
    scene = Scene.at(model, _state(model, state))
    step = None
    if before is not None and info is not None:
        inputs = checked(model, before, u, wrench)
        drive = driven(model, inputs.u, inputs.act)
        start = Scene.at(model, _state(model, before))
        step = StepTaken(start, scene, info, drive.input, inputs.wrench)
    parts = [_reading(scene, step, sensor) for sensor in model.topology.sensors]
    return jnp.concatenate([jnp.zeros(0, model.dtype), *parts])


def _state(model: Model, state: State) -> State:
    """The state, its shapes checked and its quaternions of unit length."""
    inputs = checked(model, state, None, None)
    return State(normalize_configuration(model, inputs.q), inputs.v, inputs.act)


def _reading(scene: Scene, step: StepTaken | None, sensor: Sensor) -> Array:
    if sensor.kind in _OF_STATES:
        value = _OF_STATES[sensor.kind](scene, sensor)
    elif step is not None:
        value = _OF_STEPS[sensor.kind](step, sensor)
        if sensor.kind in _BY_CONTACTS and scene.model.topology.budgeted:
            value = jnp.where(step.info.parts > 1, jnp.nan, value)
    else:
        raise ValueError(
            f"sensor_data: sensor {sensor.name!r} ({sensor.kind}) is measured over a step: give "
            "`before`, the state that the step began with, and its `info`; actuators need its `u`."
        )
    value = jnp.atleast_1d(value)
    if not sensor.cutoff or sensor.kind in _UNCUT:
        return value
    return jnp.clip(value, -sensor.cutoff, sensor.cutoff)


def _joint(scene: Scene, s: Sensor, of_v: bool) -> Array:
    t, x = scene.model.topology, scene.state.v if of_v else scene.state.q
    start = t.v_start if of_v else t.q_start
    return x[int(start[s.index]) : int(start[s.index + 1])]


def _relative(scene: Scene, s: Sensor, world: Array) -> Array:
    """A vector in the axes of the frame that a sensor measures in."""
    return matvec_t(scene.rot(s.reference), world)


def _frame_pos(scene: Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.pos(s.frame) - scene.pos(s.reference))


def _frame_quat(scene: Scene, s: Sensor) -> Array:
    return rotations.from_matrix(contract(scene.rot(s.reference).T, scene.rot(s.frame)))


def _frame_axis(axis: int, scene: Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.rot(s.frame)[:, axis])


def _frame_lin_vel(scene: Scene, s: Sensor) -> Array:
    speed = scene.speed(s.frame)
    if s.reference >= 0:
        arm = scene.pos(s.frame) - scene.pos(s.reference)
        speed = speed - scene.speed(s.reference) - cross(scene.spin(s.reference), arm)
    return _relative(scene, s, speed)


def _frame_ang_vel(scene: Scene, s: Sensor) -> Array:
    return _relative(scene, s, scene.spin(s.frame) - scene.spin(s.reference))


def _subtree_velocity(scene: Scene, s: Sensor) -> Array:
    of = _subtree(s)
    return scene.momentum(of)[3:] / or_one(jnp.sum(scene.masses(of)[0]))


def _subtree_spin(scene: Scene, s: Sensor) -> Array:
    """Angular momentum about the subtree's own centre of mass."""
    momentum = scene.momentum(_subtree(s))
    return momentum[:3] - cross(scene.center(_subtree(s)), momentum[3:])


def _subtree(s: Sensor) -> Subtree:
    assert s.subtree is not None
    return s.subtree


def _tendon_speed(scene: Scene, s: Sensor) -> Array:
    return contract(tendon_rates(scene.model, scene.frames, scene.axes)[s.index], scene.state.v)


def _actuator_speed(scene: Scene, s: Sensor) -> Array:
    model, tendons = scene.model, tendon_rates(scene.model, scene.frames, scene.axes)
    rows = wide_rows(model, tendons, scene.frames, scene.axes)
    return actuator_speeds(model, rows, scene.state.v)[s.index]


def _magnetic(scene: Scene, s: Sensor) -> Array:
    field = jnp.asarray(scene.model.topology.magnetic_field, scene.model.dtype)
    return matvec_t(scene.rot(s.frame), field)


_OF_STATES: dict[str, Callable[[Scene, Sensor], Array]] = {
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
    "subtreecom": lambda scene, s: scene.center(_subtree(s)),
    "subtreelinvel": _subtree_velocity,
    "subtreeangmom": _subtree_spin,
    "e_potential": lambda scene, s: energy(scene.model, scene.state).potential,
    "e_kinetic": lambda scene, s: energy(scene.model, scene.state).kinetic,
}
_BY_CONTACTS = {"force", "torque", "touch"}
_UNCUT = {"ballquat", "framequat", "framexaxis", "frameyaxis", "framezaxis"}


def _acceleration(step: StepTaken, s: Sensor) -> Array:
    """Of a frame's origin against free fall, world axes: at rest it is upwards."""
    return step.change(lambda scene: scene.speed(s.frame)) - step.after.model.gravity


def _accelerometer(step: StepTaken, s: Sensor) -> Array:
    return matvec_t(step.after.rot(s.frame), _acceleration(step, s))


def _interaction(step: StepTaken, s: Sensor) -> Array:
    """Spatial force (6,) of the parent on a subtree, about the world origin."""
    of = _subtree(s)
    return step.change(lambda scene: scene.momentum(of)) - step.external(of)


def _force(step: StepTaken, s: Sensor) -> Array:
    return matvec_t(step.after.rot(s.frame), _interaction(step, s)[3:])


def _torque(step: StepTaken, s: Sensor) -> Array:
    interaction = _interaction(step, s)
    about = interaction[:3] - cross(step.after.pos(s.frame), interaction[3:])
    return matvec_t(step.after.rot(s.frame), about)


def _touch(step: StepTaken, s: Sensor) -> Array:
    """Normal forces of the body's contacts whose line meets the sensor's zone."""
    assert s.zone is not None
    c, model, scene = step.info.contacts, step.after.model, step.before
    own = jnp.asarray(_subtree(s).own_geoms, model.dtype)
    first, second = own[c.geoms.T[0]], own[c.geoms.T[1]]
    # Out of the body that feels; of no other contact.
    way = c.frame[:, 0].T * (first - second)
    rot, pos = scene.rot(s.frame)[..., None], scene.pos(s.frame)[:, None]
    start = matvec_t(rot, c.point.T - pos)
    met = ray_meets(s.zone, start, matvec_t(rot, way))
    felt = jnp.where(met & (first != second), c.impulse[:, 0], 0.0)
    return jnp.sum(felt) / model.timestep


def _joint_actuation(step: StepTaken, s: Sensor) -> Array:
    return step.actuation()[1][step.after.model.topology.v_start[s.index]]


_OF_STEPS: dict[str, Callable[[StepTaken, Sensor], Array]] = {
    "accelerometer": _accelerometer,
    "framelinacc": _acceleration,
    "frameangacc": lambda step, s: step.change(lambda scene: scene.spin(s.frame)),
    "force": _force,
    "torque": _torque,
    "touch": _touch,
    "actuatorfrc": lambda step, s: step.actuation()[0][s.index],
    "jointactuatorfrc": _joint_actuation,
}
