"""Restitution against Newton's law: v_n' = -e v_n, with Coulomb's friction where there is some."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS
from rollouts import simulate, simulate_many, stacked

import dojo

pytestmark = pytest.mark.usefixtures("optimized")
G, KAPPA = 9.81, 1e-12
RADIUS = 0.05
STEPS = (4e-3, 2e-3, 1e-3)


@pytest.fixture(scope="module")
def sphere():
    return dojo.load(MODELS / "sphere.xml", restitution=0.5)


def dropped(model, height, **v):
    return dojo.init(model, q=[0, 0, height + RADIUS, 1, 0, 0, 0], **v)


def apexes(z):
    """Heights of the apexes of sampled flights, from the parabola through three samples."""
    d = np.diff(z)
    k = np.flatnonzero((d[:-1] > 0) & (d[1:] <= 0)) + 1
    first, second = (z[k + 1] - z[k - 1]) / 2, z[k + 1] - 2 * z[k] + z[k - 1]
    return z[k] - first**2 / (2 * second)


def touchdowns(model, infos):
    """Steps that end with a real impact."""
    weight = float(jnp.sum(model.link_mass)) * G * float(model.timestep)
    return np.flatnonzero(infos.contacts.impulse[..., 0].sum(1) > 1.5 * weight)


@pytest.mark.parametrize("e", [0.3, 0.5, 0.8, 1.0])
def test_bounce_heights(sphere, e, measured):
    """H e^2n: within 1 % at 1 ms, and to second order in the timestep."""
    for h in STEPS:
        model = sphere.replace(timestep=h, geom_restitution=e)
        states, infos = simulate(model, dropped(model, 1.0), round(3.0 / h), KAPPA)
        exact = e ** (2 * np.arange(1, 6))
        speed = np.sqrt(2 * G * exact)
        seen = (speed > 10 * G * h)[: len(apexes(states.q[:, 2]))]
        error = (apexes(states.q[:, 2] - RADIUS)[:5] / exact[: len(seen)] - 1)[seen[:5]]
        measured(f"errors_{h}", error)
        assert infos.converged.all()
        assert infos.contacts.gap.min() > -1e-9
        assert len(error) >= 2
        assert np.abs(error).max() < 0.01
        # Where it leaves the surface is not resolved: energies are known to (g h)^2 / 2 a bounce.
        bound = np.cumsum((G * h / speed[: len(seen)]) ** 2)[seen[:5]]
        assert (np.abs(error) < bound).all()


@pytest.mark.parametrize("e", [0.5, 0.8])
def test_times_between_bounces(sphere, e, measured):
    """2 e^n u / g, each to one step."""
    h = 1e-3
    model = sphere.replace(timestep=h, geom_restitution=e)
    _, infos = simulate(model, dropped(model, 1.0), 3000, KAPPA)
    times = np.diff(touchdowns(model, infos))[:4] * h
    exact = 2 * e ** np.arange(1, 5) * np.sqrt(2 / G)
    measured("errors", times - exact)
    assert np.abs(times - exact).max() < 1.01 * h


@pytest.mark.parametrize("e", [0.5, 0.9])
def test_a_ball_comes_to_rest_and_stays(sphere, e, measured):
    """The bounces end at sqrt(2 H / g) (1 + e) / (1 - e)."""
    h, end = 5e-3, np.sqrt(2 / G) * (1 + e) / (1 - e)
    model = sphere.replace(timestep=h, geom_restitution=e)
    for kappa in (1e-6, 1e-10):
        states, infos = simulate(model, dropped(model, 1.0), round((end + 4) / h), kappa)
        moving = np.flatnonzero(np.abs(states.v[:, 2]) > G * h)[-1] * h
        measured(f"at_rest_{kappa}", (moving, end))
        assert infos.converged.all()
        # Impacts slower than what gravity gives in a step, or kappa / h, are its rest.
        assert 0.8 * end < moving < end + 2 * h
        assert np.abs(states.v[-100:]).max() < 1e-12
        # Where it rests: kappa / gamma above the floor, with gamma = m g h.
        height = states.q[-100:, 2] - RADIUS
        np.testing.assert_allclose(height, kappa / (0.5 * G * h), rtol=1e-6)


def test_a_hundred_bounces_without_loss(sphere, measured):
    """e = 1: never higher than before; lower by at most (g h / 2 u)^2 each time."""
    h, height = 5e-3, 0.5
    model = sphere.replace(timestep=h, geom_restitution=1.0)
    states, infos = simulate(model, dropped(model, height), round(66 / h), KAPPA)
    tops = apexes(states.q[:, 2] - RADIUS)
    measured("bounces", len(tops))
    measured("height_left", tops[-1] / height)
    measured("largest_rise", np.diff(tops).max())
    assert infos.converged.all()
    assert len(tops) > 100
    assert np.diff(tops).max() < 1e-8
    speed = np.sqrt(2 * G * tops[-1])
    assert tops[-1] / height > 1 - 1.1 * len(tops) * (G * h / (2 * speed)) ** 2


def test_without_restitution_nothing_changes(sphere):
    """Restitution zero at load is no restitution; zero later is a plastic impact in one step."""
    plain = dojo.load(MODELS / "sphere.xml")
    zero = dojo.load(MODELS / "sphere.xml", restitution=0.0)
    assert zero.topology == plain.topology
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), zero, plain))
    assert sphere.topology != plain.topology
    model = sphere.replace(geom_restitution=0.0, timestep=0.01)
    states, infos = simulate(model, dropped(model, 0.3, v=[0.2, 0, 0, 0, 0, 0]), 100, KAPPA)
    before, _ = simulate(
        plain.replace(timestep=0.01), dropped(plain, 0.3, v=[0.2, 0, 0, 0, 0, 0]), 100, KAPPA
    )
    k = touchdowns(model, infos)[0]
    np.testing.assert_allclose(states.q[: k + 1], before.q[: k + 1], atol=1e-12)
    assert abs(states.v[k, 2]) < 1e-6
    # It rolls on with 5/7 of its speed. The plain impact lets it slip through a second step.
    np.testing.assert_allclose(states.v[-1, 0], 0.2 * 5 / 7, rtol=1e-6)
    np.testing.assert_allclose(before.v[-1], states.v[-1], atol=0.02 * 0.2 / RADIUS)


def oblique(v, spin, mu, e):
    """Velocity and spin of a uniform ball after an impact on a floor; numpy alone."""
    up, arm = np.array([0, 0, 1.0]), np.array([0, 0, -RADIUS])
    slip = v + np.cross(spin, arm)
    slip = slip - slip[2] * up
    push = -(1 + e) * v[2]
    # It sticks with two sevenths of the slip, 1 / m + R^2 / I being 7 / (2 m).
    friction = -2 / 7 * slip
    if np.linalg.norm(friction) > mu * push:
        friction = -mu * push * slip / np.linalg.norm(slip)
    impulse = push * up + friction
    return np.concatenate([v + impulse, spin + np.cross(arm, impulse) / (0.4 * RADIUS**2)])


@pytest.mark.parametrize(("mu", "sticks"), [(0.0, False), (0.1, False), (0.8, True)])
def test_oblique_impact_of_a_spinning_ball(sphere, mu, sticks, measured):
    """Normal by Newton, tangential by Coulomb; errors fall as h, the spin turns with the ball."""
    v, spin, e = np.array([1.0, 0.5, -1.0]), np.array([3.0, -8.0, 2.0]), 0.7
    exact = oblique(v, spin, mu, e)
    slip = np.hypot(exact[0] - RADIUS * exact[4], exact[1] + RADIUS * exact[3])
    assert (slip < 1e-12) == sticks
    errors = []
    for h in STEPS:
        model = sphere.replace(
            timestep=h, geom_restitution=e, geom_friction=mu, gravity=np.zeros(3)
        )
        start = dropped(model, 0.4 * h, v=[*v, *spin])
        states, infos = simulate(model, start, 1, KAPPA)
        assert infos.converged.all()
        turned = dojo.forward_kinematics(model, states.q[0]).rot[0] @ states.v[0, 3:]
        error = np.concatenate([states.v[0, :3], turned]) - exact
        errors.append(np.abs(error * [1, 1, 1, RADIUS, RADIUS, RADIUS]).max())
        assert states.v[0, 2] == pytest.approx(e, abs=1e-6)
        impulse = infos.contacts.impulse[0, 0]
        assert impulse[0] == pytest.approx(0.5 * (1 + e), rel=1e-6)
        assert np.hypot(*impulse[1:]) <= max(mu, 1e-8) * impulse[0] * (1 + 1e-9)
    measured("errors", errors)
    assert (np.array(errors) < 20 * RADIUS * np.array(STEPS) + 1e-6).all()


LENGTH, TIP = 1.0, 1e-3
INERTIA = LENGTH**2 / 12
ROD = f"""
<mujoco><option timestep="0.001" gravity="0 0 0"/><worldbody><geom type="plane" size="5 5 1"/>
<body pos="0 0 1"><freejoint/>
  <inertial pos="0 0 0" mass="1" diaginertia="{INERTIA} {INERTIA} 1e-3"/>
  <geom type="sphere" size="{TIP}" pos="0 0 {LENGTH / 2}"/>
  <geom type="sphere" size="{TIP}" pos="0 0 {-LENGTH / 2}"/>
</body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def rod():
    return dojo.load(ROD, restitution=0.5)


def rod_impact(angle, v, e, sticking):
    """Velocity (x, z, about y) after the lower tip struck; numpy alone."""
    arm = np.array([-LENGTH / 2 * np.cos(angle), -LENGTH / 2 * np.sin(angle) - TIP])
    rows = np.array([[1, 0, arm[1]], [0, 1, -arm[0]]])
    after = np.array([0.0, -e]) * (rows @ v)
    rows, after = (rows, after) if sticking else (rows[1:], after[1:])
    inverse = np.diag([1, 1, 1 / INERTIA])
    impulse = np.linalg.solve(rows @ inverse @ rows.T, after - rows @ v)
    return v + inverse @ rows.T @ impulse


@pytest.mark.parametrize("degrees", [30, 60])
@pytest.mark.parametrize(("mu", "e"), [(0.0, 0.4), (0.0, 1.0), (2.0, 0.4)])
def test_rod_falling_on_one_end(rod, mu, e, degrees, measured):
    """Frictionless, and with friction that sticks: errors fall as h."""
    angle, v = np.deg2rad(degrees), np.array([0.0, -1.0, 0.0])
    exact = rod_impact(angle, v, e, sticking=mu > 0)
    errors = []
    for h in STEPS:
        model = rod.replace(timestep=h, geom_friction=mu, geom_restitution=e)
        lean = np.pi / 2 - angle
        height = LENGTH / 2 * np.sin(angle) + TIP + 0.5 * h
        q = [0, 0, height, np.cos(lean / 2), 0, np.sin(lean / 2), 0]
        start = dojo.init(model, q=q, v=[0, 0, -1.0, 0, 0, 0])
        states, infos = simulate(model, start, 1, KAPPA)
        assert infos.converged.all()
        errors.append(np.abs(states.v[0, [0, 2, 4]] - exact).max())
    measured("errors", errors)
    assert (np.array(errors) < 3 * np.array(STEPS)).all()


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml", restitution=0.5)


@pytest.mark.parametrize("e", [0.5, 1.0])
def test_a_box_landing_flat(box, e, measured):
    """Four corners at once: it rises to H e^2, level, without spin."""
    h, half = 1e-3, float(box.geom_size[1, 2])
    model = box.replace(timestep=h, geom_restitution=e)
    start = dojo.init(model, q=[0, 0, half + 0.5, 1, 0, 0, 0])
    states, infos = simulate(model, start, 1200, KAPPA)
    top = apexes(states.q[:, 2] - half)[0]
    measured("height_error", top / (0.5 * e**2) - 1)
    assert infos.converged.all()
    assert infos.contacts.gap.min() > -1e-9
    assert top == pytest.approx(0.5 * e**2, rel=1e-3)
    assert np.abs(states.v[:700, 3:]).max() < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("e", [0.6, 1.0])
def test_tumbling_boxes_make_no_energy(box, e, measured):
    """Without friction and gravity: kept with e = 1, else never more; to kappa / h."""
    rng, h = np.random.default_rng(0), 4e-3
    quat = rng.normal(size=(50, 4))
    velocity = rng.normal(size=(50, 6)) * [1, 1, 1, 5, 5, 5]
    velocity[:, 2] = -2
    model = box.replace(timestep=h, geom_restitution=e, geom_friction=0.0, gravity=np.zeros(3))
    place = [dojo.init(model, q=[0, 0, 0.6, *a], v=b) for a, b in zip(quat, velocity, strict=True)]
    states, infos = simulate_many(stacked([model] * 50), stacked(place), 250, 1e-10)
    v, inertia = states.v, np.asarray(model.link_inertia[0])
    energy = 0.5 * (v[..., :3] ** 2).sum(-1)
    energy += 0.5 * np.einsum("...i,ij,...j->...", v[..., 3:], inertia, v[..., 3:])
    hits = (infos.contacts.impulse[..., 0].sum(-1) > 0.1).sum()
    measured("impacts", hits)
    measured("largest_rise", np.diff(energy, axis=1).max())
    measured("energy_left", (energy[:, -1] / energy[:, 0]).mean())
    assert infos.converged.all()
    assert hits > 50
    assert np.diff(energy, axis=1).max() < 10e-10 / h
    if e == 1:
        np.testing.assert_allclose(energy[:, -1], energy[:, 0], rtol=5e-5)
    else:
        assert (energy[:, -1] < 0.95 * energy[:, 0]).mean() > 0.9


ROOM = """
<mujoco><option timestep="0.002" gravity="0 0 0"/><default><geom friction="0.5"/></default>
<worldbody><geom type="plane" size="5 5 1"/>
<geom type="plane" size="5 5 1" pos="0 0 1" euler="180 0 0"/>
<geom type="plane" size="5 5 1" pos="-.5 0 0" euler="0 90 0"/>
<geom type="plane" size="5 5 1" pos=".5 0 0" euler="0 -80 0"/>
<geom type="plane" size="5 5 1" pos="0 -.5 0" euler="-90 0 0"/>
<geom type="plane" size="5 5 1" pos="0 .5 0" euler="90 0 0"/>
<body pos="0 0 .5"><freejoint/><geom type="sphere" size=".05" mass="0.5"/></body>
</worldbody></mujoco>"""


@pytest.mark.parametrize("e", [0.7, 1.0])
def test_a_spinning_ball_in_a_room_makes_no_energy(e, measured):
    """Friction 0.5, no gravity: the kinetic energy never rises, and falls as the ball slips."""
    model = dojo.load(ROOM, restitution=0.5).replace(geom_restitution=e)
    start = dojo.init(model, v=[2, 1.3, -3, 20, -30, 40])
    states, infos = simulate(model, start, 3000, 1e-10)
    v = states.v
    energy = 0.25 * (v[:, :3] ** 2).sum(1) + 0.2 * 0.5 * RADIUS**2 * (v[:, 3:] ** 2).sum(1)
    measured("impacts", (infos.contacts.impulse[..., 0].max(1) > 1e-2).sum())
    measured("largest_rise", np.diff(energy).max())
    measured("energy_left", energy[-1] / energy[0])
    assert infos.converged.all()
    assert infos.contacts.gap.min() > -1e-9
    assert np.diff(energy).max() < 10e-10 / 0.002
    assert energy[-1] < 0.99 * energy[0]


# A trunk of 3 kg above a foot of 1 kg, on rails; the leg may be 0.3 to 0.5 m long.
HOPPER = """
<mujoco><option timestep="0.001" gravity="0 0 0"/><worldbody><geom type="plane" size="5 5 1"/>
<body><joint type="slide" axis="0 0 1"/><geom type="sphere" size=".05" mass="3" contype="0"
  conaffinity="0"/>
  <body><joint type="slide" axis="0 0 -1" range=".3 .5" limited="true"/>
    <geom type="sphere" size=".05" mass="1"/></body></body></worldbody></mujoco>"""


def test_a_bounce_does_not_break_a_joint_limit(measured):
    """A leg on its lower limit strikes as one mass; one that is free lets the trunk go on."""
    model = dojo.load(HOPPER, restitution=0.6)
    for leg, trunk, foot in ((0.3, 0.6, 0.6), (0.4, -1.0, 0.6)):
        start = dojo.init(model, q=[leg + RADIUS + 5e-4, leg], v=[-1.0, 0.0])
        states, infos = simulate(model, start, 1, KAPPA)
        after = states.v[0, 0], states.v[0, 0] - states.v[0, 1]
        measured(f"leg_{leg}", np.subtract(after, (trunk, foot)))
        assert infos.converged.all()
        np.testing.assert_allclose(after, (trunk, foot), atol=1e-6)
        mass = 4.0 if leg == 0.3 else 1.0
        assert infos.contacts.impulse[0, 0, 0] == pytest.approx(1.6 * mass, rel=1e-4)
        assert infos.limit_impulse[0, 0] == pytest.approx(1.6 * 3 * (leg == 0.3), abs=1e-3)


SMOOTH = 1e-5


def after_impact(e, v, options):
    """What a spinning ball that slides over a floor of 0.2 does in the step of its impact."""
    model = dojo.load(MODELS / "sphere.xml", 0.01, restitution=0.5).replace(geom_friction=0.2)
    model = model.replace(geom_restitution=jnp.stack([0.0 * e, e]))
    start = dojo.State(jnp.array([0, 0, RADIUS + 4e-3, 1, 0, 0, 0]), v)
    state, info = dojo.step(model, start, options=options)
    return jnp.concatenate([state.q[:3], state.v, info.contacts.impulse.ravel()])


def test_gradients_are_central_differences_in_both_modes(measured):
    options = dojo.SolverOptions(kappa=SMOOTH, tolerance=1e-11)
    x = jnp.array([0.6, 1.0, 0.4, -1.5, 2.0, -3.0, 1.0])
    f = jax.jit(lambda x: after_impact(x[0], x[1:], options))
    forward, reverse = jax.jit(jax.jacfwd(f))(x), jax.jit(jax.jacrev(f))(x)
    size, d = np.abs(forward).max(), 1e-5
    difference = np.stack([(f(x + d * y) - f(x - d * y)) / (2 * d) for y in np.eye(7)], axis=1)
    measured("error", np.abs(forward - difference).max() / size)
    measured("by_e", forward[5, 0])
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-11 * size)
    np.testing.assert_allclose(forward, difference, rtol=1e-6, atol=1e-7 * size)
    # v_n' = e u + g h / 2, and u^2 = w^2 + 2 g gap, with w between this node and the next.
    w, pull = 1.5 + G * 0.005, 2 * G * 4e-3
    u = np.sqrt(w**2 + pull)
    assert forward[5, 0] == pytest.approx(u, rel=1e-3)
    assert forward[5, 3] == pytest.approx(-0.6 * w / u, rel=1e-3)


@pytest.mark.slow
def test_hard_impacts_with_smooth_gradients():
    """grad_kappa: the derivatives are those at that kappa, of the same impact."""
    hard = dojo.SolverOptions(kappa=1e-10, grad_kappa=SMOOTH, tolerance=1e-11)
    soft = dojo.SolverOptions(kappa=SMOOTH, tolerance=1e-11)
    v, d = jnp.array([1.0, 0.4, -1.5, 2.0, -3.0, 1.0]), (jnp.array(1.0), jnp.ones(6))
    values = [
        jax.jit(lambda e, v, o=o: jax.jvp(lambda e, v: after_impact(e, v, o), (e, v), d))(0.6, v)
        for o in (hard, soft)
    ]
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-9, atol=1e-11)
    assert np.abs(values[0][0] - values[1][0]).max() > 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precisions_and_substeps(dtype):
    """A bounce to a quarter of the height with the default kappa of each precision."""
    model = dojo.load(MODELS / "sphere.xml", 0.01, restitution=0.5, dtype=dtype)
    options = dojo.SolverOptions(substeps=2)
    rollout = jax.jit(lambda s: dojo.rollout(model, s, jnp.zeros((80, 0)), options=options))
    states, infos = rollout(dropped(model, 1.0))
    assert infos.converged.all()
    top = apexes(np.asarray(states.q[:, 2], float) - RADIUS)[0]
    assert top == pytest.approx(0.25, rel=0.02 if dtype == "float64" else 0.15)
