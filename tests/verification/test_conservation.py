"""Momentum and energy of free mechanisms: conservation laws, at every timestep.

Torques act inside the mechanism for a second; then it is free for ten.
"""

import functools

import numpy as np
import pytest
from mechanisms import MECHANISMS, PENDULUM, TUMBLER, astronaut
from rollouts import simulate, simulate_many, stacked
from scipy.spatial.transform import Rotation
from simulator import energies, momenta

import dojo

PUSHED, FREE = 1.0, 10.0


def inner_torques(model, rows, rng):
    """Wrenches (rows, nl, 6) that cancel: a torque on the base and its opposite on its child."""
    wrenches = np.zeros((rows, model.topology.nl, 6))
    wrenches[:, 0, 3:] = rng.uniform(-0.02, 0.02, 3)
    wrenches[:, min(1, model.topology.nl - 1), 3:] -= wrenches[:, 0, 3:]
    return wrenches


def drift(model, states, since):
    """Largest change of linear and of angular momentum after step `since`."""
    momentum = momenta(model, states)[since:]
    change = np.abs(momentum - momentum[0]).max(axis=0)
    return change[:3].max(), change[3:].max()


def windows(values):
    """(mean, spread) of the first and of the last fifth."""
    n = len(values) // 5
    return [(part.mean(), np.ptp(part)) for part in (values[:n], values[-n:])]


def has_no_trend(values):
    (first, spread), (last, other) = windows(values)
    # What is constant walks by up to one rounding a step.
    rounding = len(values) * np.finfo(float).eps * abs(first)
    return abs(first - last) <= max(spread, other, rounding)


@functools.cache
def mechanism(name):
    return dojo.load(MECHANISMS[name])


@pytest.mark.parametrize("stiffness", [0.0, 2.0])
@pytest.mark.parametrize("name", MECHANISMS)
def test_every_joint_type_keeps_momentum_and_energy(name, stiffness, measured):
    h = 0.01
    rng = np.random.default_rng(5)
    springs = np.where(np.arange(mechanism(name).topology.nl) > 0, stiffness, 0.0)
    model = mechanism(name).replace(timestep=h, joint_stiffness=springs)
    start = dojo.init(model, v=rng.uniform(-1, 1, model.nv))
    rows = round(PUSHED / h)
    states, infos = simulate(
        model,
        start,
        round((PUSHED + FREE) / h),
        us=np.tile(rng.uniform(-0.03, 0.03, model.nu), (rows, 1)),
        wrenches=inner_torques(model, rows, rng),
        tolerance=1e-12,
    )
    energy = energies(model, states)[rows:]
    linear, angular = drift(model, states, since=0)
    measured("momentum_drift", max(linear, angular))
    measured("energy_swing", np.ptp(energy))
    assert infos.converged.all()
    assert max(linear, angular) < 1e-10
    assert has_no_trend(energy)


@pytest.mark.parametrize("name", ["hinge", "slide", "ball"])
def test_stiff_springs_make_no_energy(name, measured):
    """h = 0.1 and 2 N m/rad (N/m): h^2 k is 8 times the inertia the hinge feels, 17 the ball."""
    springs = np.where(np.arange(mechanism(name).topology.nl) > 0, 2.0, 0.0)
    model = mechanism(name).replace(timestep=0.1, joint_stiffness=springs)
    start = dojo.init(model, v=np.full(model.nv, 0.1))
    states, infos = simulate(
        model,
        start,
        60,
        us=np.zeros((1, model.nu)),
        wrenches=np.zeros((1, model.topology.nl, 6)),
        tolerance=1e-12,
    )
    energy = energies(model, states)
    measured("energy", (sum(dojo.energy(model, start)), energy.max()))
    assert infos.converged.all()
    assert energy.max() < 1.1 * sum(dojo.energy(model, start))


def test_a_stiff_ball_spring_makes_no_energy_at_any_angle(measured):
    """A rod on a ball joint, turned by up to 3.1 rad, h^2 k from 1e-3 to 100 times its inertia.

    The rod is thin, 1 : 1700 in inertia, and lies askew in its link. Turns stay below a radian a
    step. A rotation's distance squared bends less than a parabola: the drag h^2 k outweighs it.
    """
    rng, lanes = np.random.default_rng(3), 64
    base = dojo.load(PENDULUM.format(joint='type="ball"').replace("0 0 -1", "-.6 -.6 -.6"))
    base = base.replace(gravity=np.zeros(3))
    models, starts = [], []
    for h in np.geomspace(1e-3, 0.1, lanes):
        stiffness = 0.33 * 10 ** rng.uniform(-3, 2) / h**2
        turn = rng.normal(size=3)
        turn *= rng.uniform(0, 3.1) / np.linalg.norm(turn)
        x, y, z, w = Rotation.from_rotvec(turn).as_quat()
        model = base.replace(timestep=h, joint_stiffness=stiffness)
        models.append(model)
        starts.append(dojo.init(model, q=[w, x, y, z], v=rng.uniform(-0.2, 0.2, 3) / h))
    states, infos = simulate_many(stacked(models), stacked(starts), 100)
    runs = [dojo.State(q=q, v=v) for q, v in zip(states.q, states.v, strict=True)]
    energy = np.array([energies(model, run) for model, run in zip(models, runs, strict=True)])
    first = np.array([sum(dojo.energy(m, s)) for m, s in zip(models, starts, strict=True)])
    rise = np.diff(np.column_stack([first, energy]), axis=1) / first[:, None]
    measured("largest_relative_rise", rise.max())
    measured("not_converged", int((~infos.converged).sum()))
    assert infos.converged.all()
    assert rise.max() < 1e-12


@functools.cache
def humanoid():
    """The astronaut, without damping, so that energy is kept too."""
    return dojo.load(astronaut()).replace(dof_damping=0.0)


@functools.cache
def float_about(h, torque, seconds):
    """Random joint torques [N m] for a second, then free: (model, states, infos, energy)."""
    model = humanoid().replace(timestep=h)
    shape = np.random.default_rng(0).uniform(-1, 1, (10, model.nu)) / model.actuator_gear[:, 0]
    us = np.repeat(torque * shape, round(0.1 / h), axis=0)
    steps = round((PUSHED + seconds) / h)
    states, infos = simulate(model, dojo.init(model), steps, us=us, tolerance=1e-12)
    return model, states, infos, energies(model, states)[len(us) :]


# Torques that bring the fastest limb near, and not above, 0.3 / h and 10 rad/s.
@pytest.mark.parametrize(("h", "torque"), [(0.1, 0.25), (0.01, 0.8), (0.001, 0.8)])
def test_astronaut_keeps_momentum(h, torque, measured):
    """Published: 1e-14 to 2e-11. MuJoCo's RK4: 3e-9 at h = 0.001, 2e-5 at 0.01."""
    model, states, infos, _ = float_about(h, torque, FREE)
    fastest, limit = np.abs(states.v[:, 6:]).max(), min(0.3 / h, 10.0)
    worst = max(drift(model, states, since=0))
    measured("momentum_drift", worst)
    measured("fastest", fastest)
    assert infos.converged.all()
    assert 0.7 * limit < fastest <= limit
    assert worst < 2e-11


@pytest.mark.parametrize(("h", "torque"), [(0.1, 0.25), (0.01, 0.8), (0.001, 0.8)])
def test_astronaut_energy_has_no_trend(h, torque, measured):
    """The chord of a turn h w is shorter than its arc, and its energy less by (h w)^2 / 12."""
    _, states, _, energy = float_about(h, torque, FREE)
    swing = np.ptp(energy) / energy.mean()
    measured("relative_swing", swing)
    assert has_no_trend(energy)
    assert swing < (h * np.abs(states.v[:, 6:]).max()) ** 2 / 12


def test_astronaut_energy_swings_as_h_squared(measured):
    """Slope of the largest change against h, one decade down from the fast motion."""
    steps = (0.02, 0.01, 0.005)
    swings = [np.ptp(float_about(h, 0.25, FREE)[3]) for h in steps]
    slopes = np.diff(np.log(swings)) / np.diff(np.log(steps))
    measured("swings", swings)
    measured("slopes", slopes)
    np.testing.assert_allclose(slopes, 2.0, atol=0.1)


@pytest.mark.parametrize(
    ("h", "published"),
    [(0.1, 7e-6), (0.02, 4e-7), pytest.param(0.005, 1e-8, marks=pytest.mark.slow)],
)
def test_astronaut_energy_over_100_s_is_within_the_published(h, published, measured):
    """Torques up to 0.05 N m, the amplitude of the paper's own script."""
    _, _, infos, energy = float_about(h, 0.05, 100.0)
    worst = np.abs(energy - energy[0]).max()
    measured("energy_drift", worst)
    assert infos.converged.all()
    assert worst < published
    assert has_no_trend(energy)


@pytest.mark.parametrize("h", [0.1, 0.01])
def test_tumbling_body_keeps_energy_and_momentum(h, measured):
    """100 s near the unstable axis, with flips. MuJoCo's RK4: 8e-5 and 1e-9 J."""
    model = dojo.load(TUMBLER, timestep=h)
    start = dojo.init(model, v=[0.1, 0.2, 0.3, 0.05, 1.0, -0.03])
    states, infos = simulate(model, start, round(100 / h), tolerance=1e-12)
    energy = energies(model, states)
    measured("energy_drift", np.abs(energy - energy[0]).max())
    measured("momentum_drift", max(drift(model, states, since=0)))
    assert infos.converged.all()
    assert states.v[:, 4].min() < -0.9
    assert np.abs(energy - sum(dojo.energy(model, start))).max() < 1e-10
    assert max(drift(model, states, since=0)) < 1e-10


def test_pendulum_energy_swings_without_trend(measured):
    """Symplectic Euler keeps H - (h/2) q' dV/dq up to h^2: H itself swings by h max |q' dV/dq|."""
    h = 0.01
    model = dojo.load(PENDULUM.format(joint='axis="0 1 0"'), timestep=h)
    states, infos = simulate(model, dojo.init(model, q=[2.0]), 4000)
    energy = energies(model, states)
    q, v = states.q[:, 0], states.v[:, 0]
    power = np.abs(v * 9.81 * 0.5 * np.sin(q)).max()
    measured("swing_over_h_power", np.ptp(energy) / (h * power))
    assert infos.converged.all()
    assert np.ptp(energy) == pytest.approx(h * power, rel=0.05)
    assert has_no_trend(energy)


def test_spherical_pendulum_keeps_its_vertical_angular_momentum(measured):
    """A ball joint in the world, under gravity, for 20 s."""
    model = dojo.load(PENDULUM.format(joint='type="ball"'), timestep=0.01)
    q = [np.cos(0.5), np.sin(0.5), 0, 0]
    states, infos = simulate(model, dojo.init(model, q=q, v=[0.5, 2, 1]), 2000, tolerance=1e-12)
    center = Rotation.from_quat(states.q[:, [1, 2, 3, 0]]).apply([0, 0, -0.5])
    momentum = momenta(model, states)
    carried = np.cross(center, momentum[:, :3])[:, 2]
    about_joint = momentum[:, 5] + carried
    measured("vertical_drift", np.ptp(about_joint))
    measured("energy_swing", np.ptp(energies(model, states)))
    assert infos.converged.all()
    assert np.ptp(about_joint) < 1e-10
    assert has_no_trend(energies(model, states))
