"""Torsional, rolling and anisotropic friction against closed forms, an integrator, and MuJoCo."""

import jax
import mujoco
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from simulator import simulate

import dojo

GRAVITY, RADIUS = 9.81, 0.1
INERTIA = 0.4 * RADIUS**2  # of the ball, 1 kg
SLIDING, TORSIONAL, ROLLING = 0.8, 0.02, 0.01
BALL = """<mujoco><option timestep="0.01"/><worldbody>
<geom type="plane" size="5 5 1" friction="0 0 0"/>
<body pos="0 0 .1"><freejoint/><geom size=".1" mass="1" condim="{}" friction="{} {} {}"/></body>
</worldbody></mujoco>"""


@pytest.fixture(scope="module")
def ball():
    """A ball with all three kinds of friction on a floor."""
    return dojo.load(BALL.format(6, SLIDING, TORSIONAL, ROLLING))


def test_a_spinning_ball_stops():
    """Its spin falls by mu_t m g h / I each step, a torque mu_t times the normal force, to rest."""
    model = dojo.load(BALL.format(4, SLIDING, TORSIONAL, ROLLING))
    h, rate = 0.01, TORSIONAL * GRAVITY / INERTIA
    states, infos = simulate(model, dojo.init(model, v=[0, 0, 0, 0, 0, 10.0]), 40, kappa=1e-10)
    assert infos.converged.all()
    expected = np.maximum(10.0 - rate * h * np.arange(1, 41), 0.0)
    # A state has half of what the next step's forces take.
    np.testing.assert_allclose(states.v[:, 5], expected, atol=0.51 * rate * h)
    slowing = np.diff(states.v[:15, 5])
    np.testing.assert_allclose(slowing, -rate * h, rtol=1e-5)
    assert abs(states.v[-1, 5]) < 1e-6
    torque = infos.contacts.impulse[:15, 0, 3]
    np.testing.assert_allclose(torque, -TORSIONAL * GRAVITY * h, rtol=1e-5)


@pytest.mark.parametrize("h", [0.01, 0.0025])
def test_a_rolling_ball_slows_down(ball, h):
    """Rolling resistance and sliding share one cone: the ODE of that law, error falling with h."""
    share = ROLLING / SLIDING
    speed, spin = 1.0, 9.5

    def law(_, y):
        v, w = y
        slip = v - RADIUS * w
        size = np.hypot(slip, share * w)
        force, torque = (SLIDING * GRAVITY * x / size for x in (slip, share * share * w))
        return [-force, (RADIUS * force - torque) / INERTIA]

    model, end = ball.replace(timestep=h), 0.6
    exact = solve_ivp(law, (0, end), [speed, spin], method="Radau", rtol=1e-9, atol=1e-11).y[:, -1]
    start = dojo.init(model, v=[speed, 0, 0, 0, spin, 0])
    states, infos = simulate(model, start, round(end / h), kappa=1e-10)
    assert infos.converged.all()
    found = np.array([states.v[-1, 0], states.v[-1, 4]])
    assert np.abs(found - exact).max() < 0.3 * h
    # Above what pure rolling without resistance keeps.
    assert exact[0] < 0.95 * speed


@pytest.mark.parametrize(("share", "rolls"), [(0.95, False), (1.05, True)])
def test_a_ball_on_a_slope_rolls_past_a_tangent_of_the_rolling_coefficient(ball, share, rolls):
    """It stays while r m g sin a < mu_r sqrt(N^2 - (T / mu)^2), T = m g sin a."""
    tangent = ROLLING / RADIUS / np.sqrt(1 + (ROLLING / (RADIUS * SLIDING)) ** 2)
    angle = np.arctan(share * tangent)
    model = ball.replace(gravity=GRAVITY * np.array([np.sin(angle), 0, -np.cos(angle)]))
    states, infos = simulate(model, dojo.init(model), 200, kappa=1e-10)
    assert infos.converged.all()
    gone = states.q[-1, 0] - states.q[100, 0]
    assert gone > 1e-3 if rolls else abs(gone) < 1e-6


PUCK = """<mujoco><option timestep="0.002" cone="elliptic" impratio="100"/><worldbody>
<geom name="floor" type="plane" size="5 5 1"/>
<body pos="0 0 .1"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>
<joint type="slide" axis="0 0 1"/><geom name="puck" size=".1" mass="1"/></body></worldbody>
<contact><pair geom1="floor" geom2="puck" condim="3" friction=".6 .2 .005 .0001 .0001"/></contact>
</mujoco>"""


def test_a_puck_curves_where_friction_is_anisotropic():
    """Friction along each tangent goes with its coefficient squared: the ODE; and as in MuJoCo.

    The first tangent of a floor is y in MuJoCo.
    """
    along = np.array([0.2, 0.6])

    def law(_, v):
        return -GRAVITY * along**2 * v / np.linalg.norm(along * v)

    start, end = np.array([1.0, 1.0]), 0.2
    exact = solve_ivp(law, (0, end), start, rtol=1e-9, atol=1e-11).y[:, -1]
    model = dojo.load(PUCK)
    states, infos = simulate(model, dojo.init(model, v=[*start, 0]), 100, kappa=1e-10)
    assert infos.converged.all()
    assert np.abs(states.v[-1, :2] - exact).max() < 0.3 * 0.002 * GRAVITY

    m = mujoco.MjModel.from_xml_string(PUCK)
    d = mujoco.MjData(m)
    d.qvel[:2] = start
    mujoco.mj_step(m, d, 100)
    assert np.abs(states.v[-1, :2] - d.qvel[:2]).max() < 0.05


def test_a_puck_that_barely_slips_is_held_within_the_ellipse():
    """Forces inside the ellipse of friction hold it, outside it moves."""
    model = dojo.load(PUCK)
    for direction in (0.3, 1.2):
        unit = np.array([np.cos(direction), np.sin(direction)])
        limit = GRAVITY / np.linalg.norm(unit / np.array([0.2, 0.6]))
        for share in (0.99, 1.01):
            push = np.array([*(share * limit * unit), -GRAVITY])
            pushed = model.replace(gravity=push)
            states, infos = simulate(pushed, dojo.init(pushed), 100, kappa=1e-11)
            assert infos.converged.all()
            assert (np.linalg.norm(states.v[-1, :2]) > 1e-4) == (share > 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_ball_that_slides_freely_stops_spinning(dtype):
    """No sliding friction, only torsional, at the default kappa of each precision."""
    model = jax.tree.map(lambda x: x.astype(dtype), dojo.load(BALL.format(4, 0, TORSIONAL, 0)))
    start = dojo.init(model, v=[1.0, 0.3, 0, 0.5, 2.0, 3.0])
    kappa = 1e-4 if dtype is np.float32 else 1e-6
    states, infos = simulate(model, start, 100, kappa=kappa)
    assert infos.converged.all()
    np.testing.assert_allclose(states.v[-1, :3], [1.0, 0.3, 0.0], atol=1e-3)
    assert abs(states.v[-1, 5]) < 0.01 < 0.4 < states.v[-1, 3]


def test_a_contact_with_torques_and_one_without_rest_alike(ball):
    """Where nothing spins the impulses are those of condim 3."""
    plain = dojo.load(BALL.format(3, SLIDING, TORSIONAL, ROLLING))
    six, three = (
        np.asarray(simulate(m, dojo.init(m), 1, kappa=1e-8)[1].contacts.impulse)[0, 0]
        for m in (ball, plain)
    )
    assert six.shape == (6,)
    np.testing.assert_allclose(six[0], three[0], rtol=1e-6)
