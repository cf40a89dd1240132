"""Contact against closed-form mechanics. Tolerances are tied to the step size and to kappa."""

import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS
from simulator import simulate

import dojo

G = 9.81


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml")


@pytest.fixture(scope="module")
def ball():
    return dojo.load(MODELS / "sphere.xml", timestep=0.01)


def inclined(model, degrees):
    """The model on a plane that is tilted by turning gravity."""
    a = np.deg2rad(degrees)
    return model.replace(gravity=G * np.array([np.sin(a), 0.0, -np.cos(a)]))


@pytest.mark.parametrize("h", [0.1, 0.05, 0.01, 0.005])
@pytest.mark.parametrize("mu", [0.1, 0.8])
def test_box_toss_comes_to_rest_without_penetration(box, h, mu):
    model = box.replace(timestep=h, geom_friction=mu)
    start = dojo.init(model, q=[0, 0, 1.0, 0.9, 0.2, 0.3, 0.1], v=[1.0, 0.5, 0.0, 3.0, -2.0, 1.0])
    states, infos = simulate(model, start, round(6 / h), kappa=1e-8)
    assert infos.converged.all()
    assert infos.contacts.gap.min() >= -1e-9
    assert np.abs(states.v[-1]).max() < 1e-8


def test_box_sticks_on_an_incline(box):
    model = inclined(box.replace(timestep=0.01, geom_friction=0.8), 20)
    start = dojo.init(model)
    states, infos = simulate(model, start, 1000, kappa=1e-12)
    assert infos.converged.all()
    moved = np.linalg.norm(states.q[-1, :2] - np.asarray(start.q[:2]))
    assert moved < 1e-9


@pytest.mark.parametrize("kappa", [1e-5, 1e-7])
def test_sticking_contacts_creep_by_the_barrier_law(box, kappa):
    """Each contact slides at kappa |b| / ((mu gamma)^2 - |b|^2)."""
    mu = 0.8
    model = inclined(box.replace(timestep=0.01, geom_friction=mu), 20)
    states, infos = simulate(model, dojo.init(model), 200, kappa=kappa)
    impulse = infos.contacts.impulse[-1]
    tangential = np.linalg.norm(impulse[:, 1:], axis=1)
    bearing = impulse[:, 0] > 1e-3
    law = kappa * tangential / ((mu * impulse[:, 0]) ** 2 - tangential**2)
    speed = states.v[-1, 0]
    assert bearing.sum() == 4
    np.testing.assert_allclose(law[bearing], speed, rtol=1e-3)


def test_gap_at_rest_is_kappa_over_impulse(box):
    states, infos = simulate(box, dojo.init(box), 200, kappa=1e-6)
    bottom = infos.contacts.impulse[-1, :, 0] > 1e-3
    product = infos.contacts.gap[-1] * infos.contacts.impulse[-1, :, 0]
    np.testing.assert_allclose(product[bottom], 1e-6, rtol=1e-6)
    total = infos.contacts.impulse[-1, :, 0].sum()
    np.testing.assert_allclose(total, G * float(box.timestep), rtol=1e-9)
    assert np.abs(states.v[-1]).max() < 1e-10


def test_box_slides_down_an_incline(box):
    angle, mu = np.deg2rad(20), 0.2
    model = inclined(box.replace(timestep=0.01, geom_friction=mu), 20)
    states, infos = simulate(model, dojo.init(model), 200, kappa=1e-10)
    assert infos.converged.all()
    acceleration = (states.v[-1, 0] - states.v[99, 0]) / 1.0
    expected = G * (np.sin(angle) - mu * np.cos(angle))
    assert acceleration == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("degrees", [0, 15, 30, 45, 117])
def test_stopping_distance_is_the_same_in_every_direction(box, degrees):
    """v^2 / (2 mu g), less v h / 2: the friction of a step acts on the whole of it."""
    speed, mu, h = 3.0, 0.3, 0.002
    model = box.replace(timestep=h, geom_friction=mu)
    along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    start = dojo.init(model, v=[*(speed * along), 0, 0, 0, 0])
    states, infos = simulate(model, start, 600, kappa=1e-9)
    assert infos.converged.all()
    exact = speed**2 / (2 * mu * G)
    travelled = states.q[-1, :2] @ along
    assert travelled == pytest.approx(exact, rel=0.005)
    assert travelled == pytest.approx(exact - speed * h / 2, rel=2e-4)
    assert abs(states.q[-1, :2] @ [-along[1], along[0]]) < 1e-6


def test_rolling_ball_keeps_its_speed(ball):
    start = dojo.init(ball, v=[1.0, 0, 0, 0, 1.0 / 0.05, 0])
    states, infos = simulate(ball, start, 1000)
    assert infos.converged.all()
    assert np.abs(states.v[:, 0] - 1.0).max() < 0.005


def test_sliding_ball_ends_rolling_at_five_sevenths(ball):
    start = dojo.init(ball, v=[1.0, 0, 0, 0, 0, 0])
    states, _ = simulate(ball, start, 200, kappa=1e-9)
    assert states.v[-1, 0] == pytest.approx(5 / 7, rel=1e-3)
    assert states.v[-1, 4] * 0.05 == pytest.approx(5 / 7, rel=1e-3)


def test_frictionless_impact_gives_no_spin(ball):
    model = ball.replace(geom_friction=0.0)
    start = dojo.init(model, q=[0, 0, 0.3, 1, 0, 0, 0], v=[1.0, 0.3, -2.0, 0, 0, 0])
    states, infos = simulate(model, start, 100)
    assert infos.converged.all()
    assert infos.contacts.gap.min() > 0
    assert np.abs(states.v[:, 3:]).max() < 1e-6
    np.testing.assert_allclose(states.v[-1, :2], [1.0, 0.3], atol=1e-7)


def test_impulses_are_the_change_of_momentum(box):
    """The sum of contact impulses and gravity's is what the momentum gains, step by step."""
    model = box.replace(timestep=0.01)
    start = dojo.init(model, q=[0, 0, 0.6, 0.9, 0.2, 0.3, 0.1], v=[1, 0, -1, 2, 1, 0])
    states, infos = simulate(model, start, 100)
    frame, impulse = infos.contacts.frame, infos.contacts.impulse
    world = np.einsum("tcki,tck->ti", frame, impulse)
    v = np.concatenate([np.asarray(start.v)[None, :3], states.v[:, :3]])
    gained = np.diff(v, axis=0) * float(model.link_mass[0])
    expected = world + np.array([0, 0, -G]) * 0.01
    np.testing.assert_allclose(gained, expected, atol=1e-9)


def test_deep_overlap_is_left_at_the_recovery_speed(box):
    """A start 5 cm in the floor is not thrown out: at most 0.5 m/s."""
    q = np.asarray(dojo.init(box).q).copy()
    q[2] -= 0.05
    states, infos = simulate(box, dojo.init(box, q=q), 100)
    assert infos.converged.all()
    assert states.v[:, 2].max() < 0.55
    assert infos.contacts.gap[-1].min() > -1e-9


def test_far_contacts_change_nothing(ball):
    """Beyond 2 m the impulses are exactly zero; near the floor they are not."""
    up = dojo.init(ball, q=[0, 0, 3.0, 1, 0, 0, 0])
    _, infos = simulate(ball, up, 10)
    assert (infos.contacts.impulse == 0).all()
    near = dojo.init(ball, q=[0, 0, 0.5, 1, 0, 0, 0])
    _, infos = simulate(ball, near, 10)
    assert (infos.contacts.impulse[:, :, 0] > 0).all()


SHAPES = """
<mujoco><option timestep="0.01"/><worldbody>
  <geom type="plane" size="5 5 .1" euler="0 0 0" friction="0.6"/>
  <body pos="0 0 0.6" euler="40 25 10"><freejoint/><geom {geom} mass="1" friction="0.6"/></body>
</worldbody></mujoco>
"""


@pytest.mark.parametrize(
    ("geom", "height"),
    [
        ('type="capsule" size="0.1 0.2"', 0.1),
        ('type="cylinder" size="0.2 0.1"', None),
        ('type="ellipsoid" size="0.1 0.2 0.3"', None),
    ],
)
def test_shapes_settle_on_the_floor(geom, height):
    model = dojo.load(SHAPES.format(geom=geom))
    states, infos = simulate(model, dojo.init(model), 300)
    assert infos.converged.all()
    assert infos.contacts.gap.min() > -1e-9
    assert infos.contacts.gap[-1].min() < 1e-4
    if height is not None:
        assert states.q[-1, 2] == pytest.approx(height, abs=1e-3)


def test_contact_points_and_frames_on_a_tilted_plane():
    xml = """
    <mujoco><worldbody>
      <geom name="floor" type="plane" size="1 1 .1" pos="0 0 0.2" euler="0 30 0"/>
      <body pos="0 0 1"><freejoint/><geom name="ball" type="sphere" size="0.1"/></body>
    </worldbody></mujoco>"""
    model = dojo.load(xml)
    state, info = dojo.step(model, dojo.init(model))
    normal = np.array([np.sin(np.pi / 6), 0, np.cos(np.pi / 6)])
    np.testing.assert_allclose(info.contacts.frame[0, 0], normal, atol=1e-12)
    frame = np.asarray(info.contacts.frame[0])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    gap_before = 0.8 * np.cos(np.pi / 6) - 0.1
    middle = np.array([0, 0, 1]) - normal * (0.1 + gap_before / 2)
    np.testing.assert_allclose(info.contacts.point[0], middle, atol=1e-12)
    center = np.asarray(state.q[:3]) - [0, 0, 0.2]
    np.testing.assert_allclose(info.contacts.gap[0], normal @ center - 0.1, atol=1e-12)
    names = [model.topology.geom_names[int(g)] for g in info.contacts.geoms[0]]
    assert names == ["floor", "ball"]
    assert jnp.isfinite(info.contacts.impulse).all()
