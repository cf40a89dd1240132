"""Order of convergence in the timestep, measured: smooth motion and motion through impact.

Free motion is of second order. Forces enter with full weight at the start of a step, so with
them, as through an impact, positions are of first order.
"""

import mujoco
import numpy as np
import pytest
from mechanisms import MECHANISMS, TUMBLER
from paths import MODELS
from rollouts import simulate
from scipy.special import ellipk

import dojo

G = 9.81
DAMPED = """
<mujoco><option timestep="{h}" integrator="RK4"/><worldbody>
  <body><freejoint/><geom type="box" size=".1 .2 .05" mass="1" contype="0" conaffinity="0"/>
    <body pos=".2 0 0"><joint type="ball" damping=".05" stiffness="2"/>
      <geom type="capsule" fromto="0 0 0 .3 .05 0" size=".03" mass=".5" contype="0"
            conaffinity="0"/>
      <body pos=".3 .05 0" euler="20 10 0">
        <joint name="hinge" axis="0 1 .2" pos="0 .02 0" damping=".02" stiffness="1"
               springref="20" armature=".01"/>
        <joint name="slide" type="slide" axis="1 0 0" stiffness="30" damping=".3"/>
        <geom type="box" size=".1 .02 .03" pos=".1 0 0" mass=".3" contype="0" conaffinity="0"/>
      </body>
    </body>
  </body>
</worldbody>
<actuator><motor joint="hinge" gear="2"/><position joint="slide" kp="20" kv="1"/></actuator>
</mujoco>
"""
FREE = MECHANISMS["tree"].replace('timestep="0.01"', 'timestep="{h}" integrator="RK4"')


def orders(errors, steps):
    """Slopes of log error against log h."""
    return np.diff(np.log(errors), axis=0) / np.diff(np.log(steps))[:, None]


def errors_against_mujoco(xml, seconds, steps, v0, control):
    """Largest error of q and of v at the end, against MuJoCo's RK4 at 1e-4 s."""
    reference = mujoco.MjModel.from_xml_string(xml.format(h=1e-4))
    data = mujoco.MjData(reference)
    data.qvel[:], data.ctrl[:] = v0(reference.nv), control(reference.nu)
    start = data.qvel.copy()
    for _ in range(round(seconds / 1e-4)):
        mujoco.mj_step(reference, data)
    errors = []
    for h in steps:
        model = dojo.load(xml.format(h=h))
        us = np.tile(control(model.nu), (round(seconds / h), 1))
        states, infos = simulate(model, dojo.init(model, v=start), len(us), us=us)
        assert infos.converged.all()
        dq = np.zeros(reference.nv)
        mujoco.mj_differentiatePos(reference, dq, 1.0, data.qpos, states.q[-1].astype(float))
        errors.append((np.abs(dq).max(), np.abs(states.v[-1] - data.qvel).max()))
    return np.array(errors)


def test_free_motion_is_of_second_order(measured):
    """A branching tree of ball, hinge and slide joints for 0.5 s."""
    steps = (0.02, 0.01, 0.005)
    rng = np.random.default_rng(2)
    errors = errors_against_mujoco(FREE, 0.5, steps, lambda nv: rng.uniform(-1, 1, nv), np.zeros)
    slopes = orders(errors, steps)
    measured("errors", errors[-1])
    measured("slopes", slopes)
    np.testing.assert_allclose(slopes, 2.0, atol=0.1)


def test_forced_motion_is_of_first_order(measured):
    """The same under gravity, springs, dampers, a motor and a servo, for 0.2 s."""
    steps = (0.004, 0.002, 0.001)
    rng = np.random.default_rng(3)
    errors = errors_against_mujoco(
        DAMPED, 0.2, steps, lambda nv: rng.normal(size=nv), lambda nu: np.array([0.3, 0.05])
    )
    slopes = orders(errors, steps)
    measured("errors", errors[-1])
    measured("slopes", slopes)
    assert slopes.min() > 0.95
    assert errors[-1, 0] < 5e-3


def flip_period(inertia, w):
    """Time between two flips of a free body, Jacobi's elliptic functions (Landau, section 37)."""
    energy2 = (inertia * w**2).sum()
    momentum2 = ((inertia * w) ** 2).sum()
    a, b, c = inertia if momentum2 > energy2 * inertia[1] else inertia[::-1]
    rate = np.sqrt((c - b) * (momentum2 - energy2 * a) / (a * b * c))
    modulus2 = (b - a) * (energy2 * c - momentum2) / ((c - b) * (momentum2 - energy2 * a))
    return 2 * ellipk(modulus2) / rate


def test_dzhanibekov_flip_has_its_period_to_second_order(measured):
    """Inertia 1, 2, 3, turning about the middle axis, off by a hundredth, for three flips."""
    w = np.array([0.02, 2.0, 0.01])
    exact = flip_period(np.array([1.0, 2.0, 3.0]), w)
    steps, errors = (0.1, 0.05, 0.025), []
    for h in steps:
        model = dojo.load(TUMBLER, timestep=h)
        states, infos = simulate(model, dojo.init(model, v=[0, 0, 0, *w]), round(4 * exact / h))
        assert infos.converged.all()
        spin = states.v[:, 4]
        before = np.flatnonzero(np.diff(np.sign(spin)))
        times = h * (1 + before + spin[before] / (spin[before] - spin[before + 1]))
        errors.append([abs((times[2] - times[0]) / 2 / exact - 1)])
    slopes = orders(errors, steps)
    measured("period", exact)
    measured("relative_errors", np.ravel(errors))
    measured("slopes", np.ravel(slopes))
    np.testing.assert_allclose(slopes, 2.0, atol=0.1)


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml")


def test_through_impact_and_sliding_of_first_order(box, measured):
    """A box falls flat, loses mu |vz| of its speed and slides to a stop.

    0.5 m, from 0.35 m up at 1 m/s, mu 0.3: x(t) in closed form.
    """
    mu, seconds = 0.3, 0.5
    landed = np.sqrt(2 * 0.35 / G)
    speed = 1.0 - mu * G * landed
    rest = min(seconds - landed, speed / (mu * G))
    exact = landed + speed * rest - mu * G * rest**2 / 2
    steps, errors = (0.004, 0.002, 0.001, 0.0005), []
    for h in steps:
        model = box.replace(timestep=h, geom_friction=mu)
        start = dojo.init(model, q=[0, 0, 0.6, 1, 0, 0, 0], v=[1.0, 0, 0, 0, 0, 0])
        states, infos = simulate(model, start, round(seconds / h), 1e-10)
        assert infos.converged.all()
        errors.append([abs(states.q[-1, 0] - exact)])
    measured("exact", exact)
    measured("errors", np.ravel(errors))
    # The moment of landing within its step is an error of first order that does not halve evenly.
    fitted = np.polyfit(np.log(steps), np.log(np.ravel(errors)), 1)[0]
    measured("fitted_order", fitted)
    assert (np.ravel(errors) < 2.0 * np.array(steps)).all()
    assert fitted > 0.8
