"""No penetration at any timestep: a heavy humanoid dropped on its feet, and a tossed box.

Published (paper, Table II), lowest foot gap of Atlas at h = 0.1 / 0.01 / 0.001 s: Dojo +1e-12 /
+1e-7 / +8e-6 mm, MuJoCo failure / -28 / -46 mm.
"""

import functools

import numpy as np
import pytest
from atlas import atlas, lifted
from paths import MODELS
from rollouts import simulate

import dojo

G = 9.81
DROP = 0.3
LANDED = np.sqrt(2 * DROP / G)
STIFF = (2e5, 1e3)
# The paper's script: weak springs, dampers of 25 N m s, a tilted start; the robot falls over.
LIMP = (1.0, 25.0)
TILT = (1.0, 0.05, 0.1, 0.0)


@functools.cache
def robot(joints):
    return atlas(*joints)


@functools.cache
def drop(h, joints=STIFF, quat=(1, 0, 0, 0), seconds=1.0, kappa=1e-6):
    """(states, infos) of the robot dropped from DROP above the floor."""
    model = robot(joints).replace(timestep=h)
    return simulate(model, lifted(model, DROP, quat), round(seconds / h), kappa)


def test_the_robot_is_heavy():
    assert robot(STIFF).link_mass.sum() > 150


@pytest.mark.parametrize("kappa", [1e-6, 1e-10])
@pytest.mark.parametrize("h", [0.1, 0.01, 0.001])
def test_stiff_legs_land_without_penetration(h, kappa, measured):
    states, infos = drop(h, kappa=kappa)
    measured("smallest_gap", infos.contacts.gap.min())
    assert infos.converged.all()
    assert infos.contacts.gap.min() >= -1e-9
    assert np.abs(states.v[-1]).max() < 1e-4


@pytest.mark.parametrize("h", [0.1, 0.01, 0.001])
def test_a_limp_robot_falls_over_without_penetration(h, measured):
    states, infos = drop(h, LIMP, TILT, 2.5)
    measured("smallest_gap", infos.contacts.gap.min())
    measured("not_converged", int((~infos.converged).sum()))
    assert infos.contacts.gap.min() >= -1e-9
    assert infos.converged.all()
    assert states.q[-1, 2] < 0.3


def height_error(h):
    """Torso height less that of a stone that falls and stops, and its bound, at every step."""
    states, infos = drop(h)
    t = h * np.arange(1, len(states.q) + 1)
    standing = float(robot(STIFF).q_rest[2])
    stone = standing + np.maximum(0.0, DROP - G * t**2 / 2)
    impulse = infos.contacts.impulse[-1, :, 0]
    bearing = impulse[impulse > 0.01 * impulse.max()]
    # Symplectic Euler falls ahead by g t h / 2, until the landing.
    bound = G * np.minimum(t, LANDED) * h / 2 + 2 * 1e-6 / bearing.min()
    return states.q[:, 2] - stone, bound


@pytest.mark.parametrize("rate", [20, 50, 100, 200, 500])
def test_torso_height_is_that_of_a_stone_within_the_step(rate, measured):
    error, bound = height_error(1 / rate)
    measured("largest_error_mm", 1e3 * np.abs(error).max())
    measured("share_of_bound", (np.abs(error) / bound).max())
    assert (np.abs(error) <= bound).all()


def test_torso_heights_agree_across_sampling_rates(measured):
    """Against 500 Hz at the times all rates share; differences fall as h."""
    rates = np.array([20, 50, 100])
    curves = {rate: drop(1 / rate)[0].q[:, 2] for rate in (*rates, 500)}
    shared = {rate: curve[rate // 10 - 1 :: rate // 10] for rate, curve in curves.items()}
    differences = [np.abs(shared[rate] - shared[500]).max() for rate in rates]
    # At rates r and 500 the fall is ahead by g t / 2r and g t / 1000.
    per_step = np.array(differences) / (1 / rates - 1 / 500)
    measured("differences_mm", 1e3 * np.array(differences))
    np.testing.assert_allclose(per_step, per_step[0], rtol=1e-3)


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml")


@pytest.mark.parametrize("h", [0.1, 0.05, 0.01, 0.005])
@pytest.mark.parametrize("mu", [0.1, 0.8])
def test_box_toss_comes_to_rest_without_penetration(box, h, mu):
    model = box.replace(timestep=h, geom_friction=mu)
    start = dojo.init(model, q=[0, 0, 1.0, 0.9, 0.2, 0.3, 0.1], v=[1.0, 0.5, 0.0, 3.0, -2.0, 1.0])
    states, infos = simulate(model, start, round(6 / h), kappa=1e-8)
    assert infos.converged.all()
    assert infos.contacts.gap.min() >= -1e-9
    assert np.abs(states.v[-1]).max() < 1e-8


def test_deep_overlap_is_left_at_the_recovery_speed(box):
    """A start 5 cm in the floor is not thrown out: at most 0.5 m/s."""
    q = np.asarray(dojo.init(box).q).copy()
    q[2] -= 0.05
    states, infos = simulate(box, dojo.init(box, q=q), 100)
    assert infos.converged.all()
    assert states.v[:, 2].max() < 0.55
    assert infos.contacts.gap[-1].min() > -1e-9
