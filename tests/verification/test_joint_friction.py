"""Dry friction in joints (frictionloss) against closed forms, the barrier law and MuJoCo."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from rollouts import simulate, simulate_many, stacked
from scipy.optimize import brentq

import dojo

G = 9.81
SLIDER = """
<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="slide" type="slide" axis="1 0 0"
  frictionloss="2" stiffness="{stiffness}"/><geom size=".1" mass="1"/></body></worldbody>
<actuator><motor joint="slide"/></actuator></mujoco>"""
# A bob of 1 kg at 1 m; its inertia is that of a point but for 1e-5.
PENDULUM = """
<mujoco><option gravity="0 0 -9.81"/><worldbody><body><joint axis="0 1 0" frictionloss="0.8"/>
  <inertial pos="0 0 -1" mass="1" diaginertia="1e-5 1e-5 1e-5"/></body></worldbody></mujoco>"""
# A wrist in space: ball joint, hinge and slide, with one frictionloss each.
WRIST = """
<mujoco><option gravity="0 0 0"><flag contact="disable"/></option><worldbody>
  <body><joint name="ball" type="ball" frictionloss="0.3"/>
    <geom type="box" size=".1 .2 .3" mass="2" pos=".1 0 0"/>
    <body pos=".3 0 0"><joint name="hinge" axis="0 1 .2" frictionloss="0.2"/>
      <geom type="box" size=".1 .07 .05" mass="1" pos=".1 .02 0"/>
      <body pos=".2 0 0"><joint name="slide" type="slide" axis="1 .3 0" frictionloss="1.5"/>
        <geom type="box" size=".05 .06 .04" mass=".5"/></body></body></body>
</worldbody>{}</mujoco>"""
MOTORS = '<actuator><motor joint="hinge"/><motor joint="slide"/></actuator>'


def slider(stiffness=0.0, timestep=0.01, **changes):
    """1 kg on a rail with a dry friction of 2 N."""
    return dojo.load(SLIDER.format(stiffness=stiffness), timestep).replace(**changes)


def turning_points(x):
    """Extrema of a sampled motion, from the parabola through three samples."""
    d = np.diff(x)
    k = np.flatnonzero(d[:-1] * d[1:] < 0) + 1
    first, second = (x[k + 1] - x[k - 1]) / 2, x[k + 1] - 2 * x[k] + x[k - 1]
    return x[k] - first**2 / (2 * second)


def creep_law(impulse, radius, kappa):
    """Velocity -kappa b / (r^2 - b^2) of a stuck joint."""
    return -kappa * impulse / (radius**2 - impulse**2)


def test_each_half_swing_of_a_spring_loses_two_f_over_k(measured):
    """k = 100 N/m, f = 2 N, from 0.29 m: turns at 0.25, 0.21, ... and stops at 0.01 < f / k."""
    model, kappa = slider(100.0, 0.001), 1e-12
    states, infos = simulate(model, dojo.init(model, q=[0.29]), 3500, kappa)
    x = states.q[:, 0]
    peaks = turning_points(x)[:6]
    expected = (0.29 - 0.04 * np.arange(1, 7)) * (-1.0) ** np.arange(1, 7)
    radius, impulse = 0.001 * 2.0, infos.frictionloss_impulse[-1, 0]
    creep = (x[-1] - x[-2]) / 0.001 / creep_law(impulse, radius, kappa)
    measured("turning_point_errors", peaks - expected)
    measured("rests_at", x[-1])
    measured("creep_over_law", creep)
    assert infos.converged.all()
    # The amplitude is short by its share (w h)^2 / 8 where the samples miss the turn: 4e-6 m.
    np.testing.assert_allclose(peaks, expected, atol=1e-5)
    assert abs(x[-1]) < 2.0 / 100.0
    np.testing.assert_allclose(impulse, 0.001 * 100.0 * x[-1], rtol=1e-6)
    assert creep == pytest.approx(1.0, rel=0.01)


def swings(start, tau):
    """Turning points of a 1 m pendulum of 1 kg with dry torque tau; the last is where it stays.

    From rest at a > 0 it comes to rest at b where gravity has paid for the way,
    m g l (cos b - cos a) = tau (a - b), and stays if m g l |sin b| < tau.
    """
    points = [start]
    while G * np.sin(abs(points[-1])) > tau:
        a = abs(points[-1])

        def unpaid(b, a=a):
            return G * (np.cos(b) - np.cos(a)) - tau * (a - b)

        points.append(np.sign(points[-1]) * brentq(unpaid, -a, np.arcsin(tau / G)))
    return np.array(points[1:])


def test_each_half_swing_of_a_pendulum_pays_for_its_way(measured):
    """From 1 rad with 0.8 N m: six swings, the last stops short of the vertical."""
    h, tau, kappa, model = 0.001, 0.8, 1e-12, dojo.load(PENDULUM, 0.001)
    states, infos = simulate(model, dojo.init(model, q=[1.0]), 8000, kappa)
    x, expected = states.q[:, 0], swings(1.0, tau)
    found = [*turning_points(x)[: len(expected) - 1], x[-1]]
    impulse = infos.frictionloss_impulse[-1, 0]
    creep = (x[-1] - x[-2]) / h / creep_law(impulse, h * tau, kappa)
    measured("turning_point_errors", found - expected)
    measured("creep_over_law", creep)
    assert infos.converged.all()
    assert len(expected) == 6
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert creep == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("speed", [0.5, -2.0])
def test_stopping_distance(speed, measured):
    """m v^2 / (2 f), less v h / 2: the friction of a step acts on the whole of it."""
    h, kappa, model = 0.001, 1e-12, slider(timestep=0.001)
    states, infos = simulate(model, dojo.init(model, v=[speed]), 1500, kappa)
    distance = np.sign(speed) * (speed**2 / (2 * 2.0) - abs(speed) * h / 2)
    measured("relative_error", states.q[-1, 0] / distance - 1)
    measured("rests_at_speed", states.v[-1, 0])
    assert infos.converged.all()
    assert states.q[-1, 0] == pytest.approx(distance, rel=1e-5)
    assert abs(states.v[-1, 0]) < 1e-9
    np.testing.assert_allclose(infos.frictionloss_impulse[0], -np.sign(speed) * h * 2.0, rtol=1e-6)


@pytest.mark.parametrize("kappa", [1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("force", [-1.9, 0.5, 1.99])
def test_a_held_joint_creeps_by_the_barrier_law(force, kappa, measured):
    """Below its frictionloss of 2 N: kappa b / (r^2 - b^2), r = 0.02 N s."""
    model, h = slider(), 0.01
    states, infos = simulate(
        model, dojo.init(model), 300, kappa, us=np.full((300, 1), force), tolerance=1e-12
    )
    creep = states.q[-1, 0] - states.q[-2, 0]
    law = h * creep_law(-h * force, h * 2.0, kappa)
    measured("creep_over_law", creep / law)
    assert infos.converged.all()
    assert creep == pytest.approx(law, rel=0.01)


@pytest.mark.parametrize("force", [2.001, 3.0, -10.0])
def test_beyond_its_frictionloss_a_joint_moves(force, measured):
    """Acceleration (u - f) / m, friction exactly f."""
    model = slider()
    states, infos = simulate(model, dojo.init(model), 300, 1e-12, us=np.full((300, 1), force))
    acceleration = (states.v[-1, 0] - states.v[199, 0]) / 1.0
    expected = force - np.sign(force) * 2.0
    measured("relative_error", acceleration / expected - 1)
    assert infos.converged.all()
    assert acceleration == pytest.approx(expected, rel=1e-4)


def test_friction_takes_its_power_and_gives_none(measured):
    """The cone asks for 0 <= r |v| + b v <= kappa / 2: 20 wrists slowed down from random speeds."""
    h, kappa, model = 0.005, 1e-9, dojo.load(WRIST.format(""), 0.005)
    rng = np.random.default_rng(0)
    starts = [dojo.init(model, v=3 * rng.normal(size=model.nv)) for _ in range(20)]
    states, infos = simulate_many(stacked([model] * 20), stacked(starts), 200, kappa)
    # The hinge and the slide: the two whose interval velocity is a difference of q.
    v = np.diff(states.q[..., 4:], axis=1) / h
    b, radius = infos.frictionloss_impulse[:, 1:, 3:], h * np.array([0.2, 1.5])
    given = radius * np.abs(v) + b * v
    measured("kappas", (given.min() / kappa, given.max() / kappa))
    sticking = np.abs(b) < 0.9 * radius
    measured("sticking", sticking.mean())
    assert infos.converged.all()
    assert given.min() > -1e-2 * kappa
    assert given.max() < 0.51 * kappa
    assert 0.1 < sticking.mean() < 0.9


@pytest.fixture(scope="module")
def wrist():
    return dojo.load(WRIST.format(MOTORS), 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_sliding_joints_accelerate_as_in_mujoco(wrist, seed, measured):
    """All five dry dofs sliding under steady motor forces: dv / h against qacc."""
    m = mujoco.MjModel.from_xml_string(WRIST.format(MOTORS))
    # MuJoCo's friction yields where it would stop the joint within its time constant.
    m.opt.timestep, m.dof_solref[:] = 1e-5, (2e-5, 1)
    d, rng = mujoco.MjData(m), np.random.default_rng(seed)
    d.qvel = rng.choice([-1, 1], m.nv) * rng.uniform(1, 3, m.nv)
    d.qpos = [*rng.normal(size=4), *rng.uniform(-0.3, 0.3, 2)]
    mujoco.mj_normalizeQuat(m, d.qpos)
    d.ctrl = [2.0, -5.0]
    mujoco.mj_forward(m, d)
    start = dojo.init(wrist, q=d.qpos, v=d.qvel)
    states, infos = simulate(wrist, start, 1, 1e-12, us=[d.ctrl])
    acceleration, friction = (states.v[0] - d.qvel) / 1e-5, infos.frictionloss_impulse[0] / 1e-5
    measured("acceleration", np.abs(acceleration - d.qacc).max() / np.abs(d.qacc).max())
    measured("friction", np.abs(friction - d.qfrc_constraint).max())
    assert infos.converged.all()
    np.testing.assert_allclose(friction, d.qfrc_constraint, rtol=1e-4)
    np.testing.assert_allclose(acceleration, d.qacc, atol=1e-3 * np.abs(d.qacc).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_of_forces_sticks_and_slides(dtype, measured):
    """Lanes of one batch: held below 2 N, (u - f) / m beyond; friction of both signs."""
    model = dojo.load(SLIDER.format(stiffness=0.0), 0.01, dtype=dtype)
    forces = jnp.array([-3.0, -1.5, 0.0, 1.5, 3.0], model.dtype)

    @jax.jit
    @jax.vmap
    def pushed(force):
        options = dojo.SolverOptions(kappa=1e-5)
        us = jnp.full((50, 1), force)
        return dojo.rollout(model, dojo.init(model), us, options=options)

    states, infos = pushed(forces)
    measured("speed", states.v[:, -1, 0])
    assert states.v.dtype == dtype
    assert infos.converged.all()
    # Held: kappa b / (r^2 - b^2); beyond, the start is smoothed over about kappa / r = 5e-4 m/s.
    creep = creep_law(-0.015, 0.02, 1e-5)
    expected = jnp.array([-0.5, -creep, 0.0, creep, 0.5])
    np.testing.assert_allclose(states.v[:, -1, 0], expected, rtol=0.01)
    np.testing.assert_allclose(
        infos.frictionloss_impulse[:, -1, 0], 0.01 * jnp.array([2, 1.5, 0, -1.5, -2]), atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frictionloss_may_vanish(dtype):
    """At 0 the slider of a model with dry friction moves as one without, gradient included."""
    model = dojo.load(SLIDER.format(stiffness=0.0), 0.01, dtype=dtype)

    def speed(frictionloss, force):
        free = model.replace(dof_frictionloss=frictionloss)
        after, info = dojo.step(free, dojo.init(model, v=[0.3]), force[None])
        return after.v[0], info.converged

    both = jax.jit(jax.value_and_grad(speed, (0, 1), has_aux=True))
    (v, converged), slopes = both(jnp.zeros(1, model.dtype), jnp.asarray(0.7, model.dtype))
    assert converged
    assert v == pytest.approx(0.3 + 0.01 * 0.7, rel=1e-6)
    assert slopes[1] == pytest.approx(0.01, rel=1e-6)
    assert jnp.isfinite(slopes[0]).all()
