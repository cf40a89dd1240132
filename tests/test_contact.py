"""What a step reports of its contacts, and the shapes that touch.

Contact against closed-form mechanics is in tests/verification.
"""

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
