"""Log-Cholesky parameters of the links' inertia."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS

import dojo

FILES = sorted(f.name for f in [*MODELS.glob("*.xml"), *MODELS.glob("*.urdf")])


@pytest.mark.parametrize("name", FILES)
def test_round_trip(name):
    model = dojo.load(MODELS / name)
    again = dojo.with_inertial_parameters(model, dojo.inertial_parameters(model))
    for field in ("link_mass", "link_com", "link_inertia"):
        np.testing.assert_allclose(getattr(again, field), getattr(model, field), atol=1e-12)


def test_any_parameters_are_a_body():
    """Positive mass; every principal moment less than the sum of the others."""
    model = dojo.load(MODELS / "humanoid.xml")
    massive = np.asarray(model.link_mass) > 0
    assert not massive.all(), "links without mass are part of the test"
    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=(model.topology.nl, 10))
        body = dojo.with_inertial_parameters(model, values)
        assert (np.asarray(body.link_mass)[massive] > 0).all()
        assert (np.asarray(body.link_mass)[~massive] == 0).all()
        moments = np.linalg.eigvalsh(np.asarray(body.link_inertia)[massive])
        assert (moments[:, 0] > 0).all()
        assert (moments[:, 2] < moments[:, 0] + moments[:, 1]).all()
        back = dojo.inertial_parameters(body)
        np.testing.assert_allclose(np.asarray(back)[massive], values[massive], atol=1e-9)


def test_mass_points_reproduce_the_parameters():
    """The pseudo-inertia of four mass points, from their definition: m, m c, sum m x x^T."""
    rng = np.random.default_rng(0)
    masses, points = rng.uniform(0.5, 1.5, 4), rng.normal(size=(4, 3))
    total = masses.sum()
    center = masses @ points / total
    arms = points - center
    inertia = sum(
        m * (r @ r * np.eye(3) - np.outer(r, r)) for m, r in zip(masses, arms, strict=True)
    )
    model = dojo.load(MODELS / "box.xml").replace(
        link_mass=total, link_com=center[None], link_inertia=inertia[None]
    )
    alpha, d1, d2, d3, s12, s23, s13, *t = np.asarray(dojo.inertial_parameters(model))[0]
    upper = np.exp(alpha) * np.array(
        [
            [np.exp(d1), s12, s13, t[0]],
            [0, np.exp(d2), s23, t[1]],
            [0, 0, np.exp(d3), t[2]],
            [0, 0, 0, 1],
        ]
    )
    homogeneous = np.column_stack([points, np.ones(4)])
    np.testing.assert_allclose(upper @ upper.T, (masses * homogeneous.T) @ homogeneous, atol=1e-12)


def test_derivatives():
    """Through the mass matrix, against central differences."""
    model = dojo.load(MODELS / "hopper.xml")
    values = dojo.inertial_parameters(model)
    q = dojo.init(model).q

    def matrix(values):
        return dojo.mass_matrix(dojo.with_inertial_parameters(model, values), q)

    direction = np.random.default_rng(1).normal(size=values.shape)
    _, rate = jax.jvp(matrix, (values,), (jnp.asarray(direction),))
    h = 1e-5
    difference = (matrix(values + h * direction) - matrix(values - h * direction)) / (2 * h)
    assert np.abs(rate - difference).max() < 1e-8 * np.abs(rate).max()


def test_impossible_inertia_is_refused():
    model = dojo.load(MODELS / "box.xml").replace(link_inertia=np.diag([1.0, 1.0, 3.0])[None])
    with pytest.raises(dojo.ModelError, match="principal moment"):
        dojo.inertial_parameters(model)
    with pytest.raises(dojo.ModelError, match=r"shape \(10,\)"):
        dojo.with_inertial_parameters(model, np.zeros(10))
