"""Rolling and spinning bodies against closed-form mechanics."""

import numpy as np
import pytest
from paths import MODELS
from rollouts import simulate
from scipy.spatial.transform import Rotation

import dojo

G, R = 9.81, 0.05
TOP_RADIUS, ECCENTRICITY, TOP_MASS = 0.02, 0.3, 0.02
# A ball with its centre of mass 0.3 radii below its centre; moments of a published study of the
# tippe top, I1 / I3 = 0.94 within (1 - 0.3, 1 + 0.3), where upright fast spin is unstable.
TOP_INERTIA = np.array([131 / 350, 131 / 350, 2 / 5]) * TOP_MASS * TOP_RADIUS**2
TIPPE_TOP = f"""
<mujoco><worldbody><geom type="plane" size="1 1 1" friction="0.3"/>
<body pos="0 0 {TOP_RADIUS}"><freejoint/>
  <inertial pos="0 0 0" mass="{TOP_MASS}" diaginertia="{" ".join(map(str, TOP_INERTIA))}"/>
  <geom type="sphere" size="{TOP_RADIUS}" pos="0 0 {ECCENTRICITY * TOP_RADIUS}" friction="0.3"/>
</body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def ball():
    """0.5 kg, radius 0.05 m, mu 0.5."""
    return dojo.load(MODELS / "sphere.xml", timestep=0.01)


def test_rolling_ball_keeps_its_speed(ball, measured):
    """v = w r for 10 s."""
    start = dojo.init(ball, v=[1.0, 0, 0, 0, 1.0 / R, 0])
    states, infos = simulate(ball, start, 1000, 1e-9)
    slip = states.v[:, 0] - R * rolling_spin(states)
    measured("speed_lost", np.abs(states.v[:, 0] - 1.0).max())
    measured("slip", np.abs(slip).max())
    assert infos.converged.all()
    assert np.abs(states.v[:, 0] - 1.0).max() < 1e-5
    assert np.abs(slip).max() < 1e-5


def rolling_spin(states):
    """World angular velocity about y [rad/s]; the state's is in body axes."""
    turn = Rotation.from_quat(states.q[:, [4, 5, 6, 3]])
    return turn.apply(states.v[:, 3:])[:, 1]


def test_sliding_ball_ends_rolling_at_five_sevenths(ball, measured):
    start = dojo.init(ball, v=[1.0, 0, 0, 0, 0, 0])
    states, _ = simulate(ball, start, 200, 1e-9)
    measured("error", states.v[-1, 0] - 5 / 7)
    assert states.v[-1, 0] == pytest.approx(5 / 7, rel=1e-4)
    assert states.v[-1, 4] * R == pytest.approx(5 / 7, rel=1e-4)


def test_ball_with_back_spin_ends_at_two_sevenths_of_its_rim_speed(ball, measured):
    start = dojo.init(ball, v=[0, 0, 0, 0, -20.0, 0])
    states, _ = simulate(ball, start, 200, 1e-9)
    measured("error", states.v[-1, 0] + 2 / 7)
    assert states.v[-1, 0] == pytest.approx(-2 / 7, rel=1e-4)


def test_ball_spinning_on_the_spot_goes_on(ball, measured):
    """A point contact has no torque about its normal."""
    start = dojo.init(ball, v=[0, 0, 0, 0, 0, 30.0])
    states, infos = simulate(ball, start, 500, 1e-9)
    measured("spin_lost", np.abs(states.v[:, 5] - 30).max())
    assert infos.converged.all()
    assert np.abs(states.v[:, 5] - 30).max() < 1e-9
    assert np.abs(states.q[:, :2]).max() < 1e-9


def test_tippe_top_inverts(measured):
    """Jellett's integral, L . (centre of mass to contact), is kept by any sliding friction.

    Upright the arm is (1 - a) R, inverted (1 + a) R, so spin ends at (1 - a) / (1 + a) of the
    first. The contact acts half a gap from the surface: the integral drifts as gap / R.
    """
    spin, kappa, h, a = 155.0, 1e-10, 0.001, ECCENTRICITY
    model = dojo.load(TIPPE_TOP, timestep=h)
    lean = 0.1
    height = TOP_RADIUS * (1 - a * np.cos(lean))
    q = [0, 0, height, np.cos(lean / 2), np.sin(lean / 2), 0, 0]
    start = dojo.init(model, q=q, v=[0, 0, 0, 0, 0, spin])
    states, infos = simulate(model, start, round(6 / h), kappa)
    turn = Rotation.from_quat(states.q[:, [4, 5, 6, 3]])
    axis = turn.apply([0, 0, 1])
    momentum = turn.apply(TOP_INERTIA * states.v[:, 3:])
    jellett = (momentum * TOP_RADIUS * (a * axis - [0, 0, 1])).sum(axis=1)
    drift = np.abs(jellett / jellett[0] - 1).max()
    left = momentum[-1, 2] / (TOP_INERTIA[2] * spin)
    measured("axis", axis[-1, 2])
    measured("spin_left", (left, (1 - a) / (1 + a)))
    measured("jellett_drift", drift)
    measured("not_converged", int((~infos.converged).sum()))
    assert infos.converged.all()
    assert axis[:500, 2].max() > 0.99
    assert axis[-1, 2] < -0.98
    assert left == pytest.approx((1 - a) / (1 + a), rel=0.02)
    gap = kappa / (TOP_MASS * G * h)
    assert drift < 2 * gap / TOP_RADIUS
