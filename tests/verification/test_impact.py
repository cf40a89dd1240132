"""Impacts against plastic impact theory; impacts without a unique solution, honestly reported.

A position-level impact spends two steps: the first ends on the surface, the second stops.
"""

import numpy as np
import pytest
from paths import MODELS
from rollouts import simulate, simulate_many, stacked

import dojo

G = 9.81
LENGTH, MASS, TIP = 1.0, 1.0, 1e-3
INERTIA = MASS * LENGTH**2 / 12
# A uniform rod along its body's z, with a small sphere at each end.
ROD = f"""
<mujoco><option timestep="0.001"/><worldbody><geom type="plane" size="5 5 1"/>
<body pos="0 0 1"><freejoint/>
  <inertial pos="0 0 0" mass="{MASS}" diaginertia="{INERTIA} {INERTIA} 1e-3"/>
  <geom type="sphere" size="{TIP}" pos="0 0 {LENGTH / 2}"/>
  <geom type="sphere" size="{TIP}" pos="0 0 {-LENGTH / 2}"/>
</body></worldbody></mujoco>"""
STEPS = (4e-3, 2e-3, 1e-3)


@pytest.fixture(scope="module")
def rod():
    return dojo.load(ROD)


def leaning(model, angle, v=(0.0, 0.0, 0.0), gap=0.0):
    """The rod at `angle` to the floor, its lower tip `gap` above it; v is (x, z, about y)."""
    lean = np.pi / 2 - angle
    height = LENGTH / 2 * np.sin(angle) + TIP + gap
    q = [0, 0, height, np.cos(lean / 2), 0, np.sin(lean / 2), 0]
    return dojo.init(model, q=q, v=[v[0], 0, v[1], 0, v[2], 0])


def test_rod_struck_at_one_end(rod, measured):
    """J / m, and 6 J / (m l) about the centre: the point at 2/3 of the length stands still."""
    model = rod.replace(gravity=np.zeros(3))
    start = dojo.init(model, q=[0, 0, 5, 1, 0, 0, 0])
    h, blow = float(model.timestep), 0.7
    wrench = np.zeros((1, 1, 6))
    wrench[0, 0, 0] = blow / h
    wrench[0, 0, 4] = blow / h * LENGTH / 2
    states, infos = simulate(model, start, 1, wrenches=wrench)
    speed, spin = states.v[0, 0], states.v[0, 4]
    still = speed - spin * LENGTH / 6
    measured("speed_of_the_point", still)
    assert infos.converged.all()
    assert speed == pytest.approx(blow / MASS, rel=1e-9)
    # The linear velocity is exact, the spin that of a finite turn: second order in h w.
    assert spin == pytest.approx(6 * blow / (MASS * LENGTH), rel=(h * spin) ** 2)
    assert abs(still) < (h * spin) ** 2


def plastic_impact(angle, v, sticking):
    """Velocity (x, z, about y) after the lower tip stops, in z or in both; numpy alone."""
    lean = np.pi / 2 - angle
    arm = np.array([-LENGTH / 2 * np.sin(lean), -LENGTH / 2 * np.cos(lean) - TIP])
    rows = np.array([[1, 0, arm[1]], [0, 1, -arm[0]]])
    rows = rows if sticking else rows[1:]
    inverse = np.diag([1 / MASS, 1 / MASS, 1 / INERTIA])
    impulse = np.linalg.solve(rows @ inverse @ rows.T, -rows @ v)
    return v + inverse @ rows.T @ impulse


@pytest.mark.parametrize("degrees", [30, 45, 60])
@pytest.mark.parametrize("mu", [0.0, 2.0])
def test_rod_falling_on_one_end(rod, mu, degrees, measured):
    """Frictionless, and with friction that sticks: errors fall as h."""
    angle, v = np.deg2rad(degrees), np.array([0.0, -1.0, 0.0])
    exact = plastic_impact(angle, v, sticking=mu > 0)
    errors = []
    for h in STEPS:
        model = rod.replace(timestep=h, geom_friction=mu, gravity=np.zeros(3))
        states, infos = simulate(model, leaning(model, angle, v, gap=0.5 * h), 2, 1e-10)
        assert infos.converged.all()
        errors.append(np.abs(states.v[1, [0, 2, 4]] - exact).max())
    measured("errors", errors)
    # In the step on the way down the rod turns by h w / 2 of a spin of about one.
    assert (np.array(errors) < 2 * np.array(STEPS)).all()
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 2.0, rtol=0.05)


@pytest.mark.parametrize("kappa", [1e-6, 1e-9])
def test_painleve_rods_are_solved_or_flagged(rod, kappa, measured):
    """Rods sliding at mu 1.4 to 3, above the 4/3 where rigid-body dynamics turns inconsistent."""
    rng = np.random.default_rng(0)
    h, models, starts = 0.005, [], []
    for _ in range(60):
        model = rod.replace(timestep=h, geom_friction=rng.uniform(1.4, 3.0))
        slide = rng.uniform(0.1, 5) * rng.choice([-1, 1])
        models.append(model)
        angle = rng.uniform(0.3, 1.4)
        starts.append(leaning(model, angle, (slide, 0, rng.uniform(-1, 1)), gap=1e-6))
    first = stacked(starts)
    states, infos = simulate_many(stacked(models), first, 60, kappa)
    q = np.concatenate([first.q[:, None], states.q], axis=1)
    v = np.concatenate([first.v[:, None], states.v], axis=1)
    inertia = np.array([INERTIA, INERTIA, 1e-3])
    energy = (0.5 * (MASS * v[..., :3] ** 2 + inertia * v[..., 3:] ** 2)).sum(-1) + G * q[..., 2]
    rise = np.diff(energy, axis=1)
    measured("not_converged", f"{(~infos.converged).sum()} of {infos.converged.size}")
    measured("largest_rise", rise.max())
    assert (infos.converged == (infos.status == dojo.Status.CONVERGED)).all()
    assert np.isfinite(q).all()
    assert np.isfinite(v).all()
    # Converged means solved: products at kappa, friction in its cone.
    product = infos.contacts.gap * infos.contacts.impulse[..., 0]
    near = infos.converged[..., None] & (infos.contacts.gap < 0.1)
    np.testing.assert_allclose(product[near], kappa, rtol=1e-6)
    friction = np.linalg.norm(infos.contacts.impulse[..., 1:], axis=-1)
    mu = np.array([float(model.geom_friction[0]) for model in models])[:, None, None]
    assert (friction <= mu * infos.contacts.impulse[..., 0])[infos.converged].all()
    # The barrier holds kappa / h joules.
    assert rise[infos.converged].max() < 10 * kappa / h
    assert rise.max() < 10 * kappa / h
    assert infos.contacts.gap.min() > -1e-9


def test_frictionless_impact_gives_no_spin():
    model = dojo.load(MODELS / "sphere.xml", timestep=0.01).replace(geom_friction=0.0)
    start = dojo.init(model, q=[0, 0, 0.3, 1, 0, 0, 0], v=[1.0, 0.3, -2.0, 0, 0, 0])
    states, infos = simulate(model, start, 100)
    assert infos.converged.all()
    assert infos.contacts.gap.min() > 0
    assert np.abs(states.v[:, 3:]).max() < 1e-6
    np.testing.assert_allclose(states.v[-1, :2], [1.0, 0.3], atol=1e-7)


LOWER, UPPER = (0.3, 0.2), (2.0, 1.5)
# Two uniform rods of 1 m and 1 kg that hang from a hinge; both hinges have limits.
DOUBLE_PENDULUM = f"""
<mujoco><compiler angle="radian"/><option timestep="0.001"><flag contact="disable"/></option>
<default><geom type="capsule" fromto="0 0 0 0 0 -1" size=".01" mass="0"/></default>
<worldbody><body>
  <joint axis="0 -1 0" range="{LOWER[0]} {UPPER[0]}"/><geom/>
  <inertial pos="0 0 -.5" mass="1" diaginertia="{1 / 12} {1 / 12} 1e-3"/>
  <body pos="0 0 -1"><joint axis="0 -1 0" range="{LOWER[1]} {UPPER[1]}"/><geom/>
    <inertial pos="0 0 -.5" mass="1" diaginertia="{1 / 12} {1 / 12} 1e-3"/></body>
</body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def pendulum():
    return dojo.load(DOUBLE_PENDULUM)


def pendulum_mass(bend):
    """Mass matrix of two uniform rods of 1 kg and 1 m, from the textbook."""
    c = np.cos(bend)
    return np.array([[5 / 3 + c, 1 / 3 + c / 2], [1 / 3 + c / 2, 1 / 3]])


def test_double_pendulum_comes_to_rest_on_its_limits(pendulum, measured):
    """The limits carry the torques of gravity, h times each."""
    h = 0.002
    model = pendulum.replace(timestep=h)
    states, infos = simulate(model, dojo.init(model, q=[1.6, 1.0]), round(4 / h), 1e-10)
    q = states.q[-1]
    first, second = np.sin(q[0]), np.sin(q[0] + q[1])
    torque = G * np.array([1.5 * first + 0.5 * second, 0.5 * second])
    carried = infos.limit_impulse[-1, :2] / h
    smallest = min((states.q - LOWER).min(), (np.array(UPPER) - states.q).min())
    measured("smallest_distance", smallest)
    measured("torque_error", np.abs(carried / torque - 1).max())
    assert infos.converged.all()
    assert smallest >= -1e-9
    np.testing.assert_allclose(q, LOWER, atol=1e-6)
    np.testing.assert_allclose(carried, torque, rtol=1e-6)


@pytest.mark.parametrize("v", [(-0.2, 1.0), (0.5, -1.0), (-1.0, -0.7)])
def test_double_pendulum_stops_plastically_at_its_limits(pendulum, v, measured):
    """v+ = v + M^-1 p with p >= 0, the limits' speeds >= 0, by enumeration; errors fall as h."""
    v, bend = np.array(v), LOWER[1]
    exact = enumerated_impact(np.linalg.inv(pendulum_mass(bend)), v)
    errors = []
    for h in STEPS:
        model = pendulum.replace(timestep=h, gravity=np.zeros(3))
        # Joints that approach their limit reach it half a step on; the others start there.
        q = np.array(LOWER) + 0.5 * h * np.maximum(-v, 0.0) + 1e-6
        states, infos = simulate(model, dojo.init(model, q=q, v=v), 2, 1e-12)
        assert infos.converged.all()
        errors.append(np.abs(states.v[1] - exact).max())
    measured("errors", errors)
    assert (np.array(errors) < 2 * np.array(STEPS)).all()


def enumerated_impact(inverse_mass, v):
    """The plastic impact on both lower limits: try every set of limits that push."""
    for pushing in ([], [0], [1], [0, 1]):
        impulse = np.zeros(2)
        if pushing:
            block = inverse_mass[np.ix_(pushing, pushing)]
            impulse[pushing] = np.linalg.solve(block, -v[pushing])
        after = v + inverse_mass @ impulse
        if (impulse >= 0).all() and (after >= -1e-12).all():
            return after
    raise AssertionError("no plastic impact found")


def test_double_pendulum_makes_no_energy_at_its_limits(pendulum, measured):
    """Without gravity, to and fro between four limits: kinetic energy never rises."""
    h, kappa = 0.002, 1e-10
    model = pendulum.replace(timestep=h, gravity=np.zeros(3))
    states, infos = simulate(model, dojo.init(model, q=[1.0, 0.8], v=[2.0, -5.0]), 2000, kappa)
    masses = np.array([pendulum_mass(bend) for bend in states.q[:, 1]])
    energy = 0.5 * np.einsum("ti,tij,tj->t", states.v, masses, states.v)
    measured("largest_rise", np.diff(energy).max())
    measured("energy_left", energy[-1] / energy[0])
    assert infos.converged.all()
    assert energy[-1] < 0.9 * energy[0]
    # Free flight swings by the chord's (h w)^2 / 12 (see test_conservation).
    assert (energy - np.minimum.accumulate(energy)).max() < (h * 5) ** 2 / 12 * energy[0]
