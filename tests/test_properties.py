"""Properties of cones, step lengths and rotations over random inputs, dtypes and batch shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.math import rotations
from dojo.math.vectors import reduced, smallest, solve_positive
from dojo.solver.cones import cone_step, determinant, divide, jordan, orthant_step, scaling

# Compiling inside a property takes longer than hypothesis expects of an example.
relaxed = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**31)
sizes = st.integers(0, 9)
dtypes = st.sampled_from([np.float32, np.float64])
# Angles near the singular points of the maps: zero and half a turn.
angles = st.one_of(
    st.floats(0, np.pi - 1e-6),
    st.floats(0, 1e-6),
    st.floats(1e-6, 1e-3).map(lambda x: np.pi - x),
)


def inside(rng, n, dtype, nearest):
    """(3, n) vectors inside the cone, their relative margin down to `nearest`."""
    x = rng.normal(size=(2, n))
    margin = nearest ** rng.uniform(0, 1, n)
    a = np.concatenate([np.linalg.norm(x, axis=0)[None] * (1 + margin) + 1e-3 * margin, x])
    return jnp.asarray(a * 10.0 ** rng.uniform(-6, 6, n), dtype)


@relaxed
@given(seeds, sizes, dtypes)
def test_a_cone_step_stays_inside_and_ends_at_the_boundary(seed, n, dtype):
    rng = np.random.default_rng(seed)
    x = inside(rng, n, dtype, 1e-3)
    d = jnp.asarray(rng.normal(size=(3, n)), dtype) * x[0]
    length = np.asarray(cone_step(x, d))
    assert length.shape == (n,)
    assert (length > 0).all()
    assert not np.isnan(length).any()
    x, d = np.asarray(x, float), np.asarray(d, float)
    bounded = length < 1e10
    reach = np.where(bounded, length, 1e3)
    # Rounding of the margin, relative to it.
    slack = 200 * np.finfo(dtype).eps * (np.abs(x) + reach * np.abs(d)).max(0) / 1e-3
    for share in (0.5, 0.99):
        end = x + share * reach * d
        assert (end[0] - np.linalg.norm(end[1:], axis=0) > -slack).all()
    end = (x + reach * d)[:, bounded]
    off = np.abs(end[0] - np.linalg.norm(end[1:], axis=0))
    assert (off <= slack[bounded]).all()


@relaxed
@given(seeds, sizes, dtypes)
def test_an_orthant_step_ends_at_zero(seed, n, dtype):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(10.0 ** rng.uniform(-8, 8, n), dtype)
    d = jnp.asarray(rng.normal(size=n), dtype)
    length = np.asarray(orthant_step(x, d))
    falling = np.asarray(d) < 0
    assert (length[~falling] > 1e15).all()
    np.testing.assert_allclose(
        length[falling] * -np.asarray(d)[falling], np.asarray(x)[falling], rtol=1e-5
    )


@relaxed
@given(seeds, sizes, dtypes)
def test_scaling_is_positive_and_maps_eta_to_beta(seed, n, dtype):
    rng = np.random.default_rng(seed)
    beta, eta = inside(rng, n, dtype, 1e-2), inside(rng, n, dtype, 1e-2)
    scaled = scaling(beta, eta)
    tolerance = 1e4 * np.finfo(dtype).eps
    size = np.abs(np.asarray(beta)).max(0, initial=0)
    error = np.abs(np.asarray(scaled.size * scaled.times(scaled.times(eta)) - beta)) / size
    assert (error <= tolerance).all()
    x = jnp.asarray(rng.normal(size=(3, n)), dtype)
    assert (np.asarray((x * scaled.times(x)).sum(0)) > 0).all()
    schur = np.moveaxis(np.asarray(scaled.schur(), float), -1, 0)
    assert (np.linalg.eigvalsh(schur) > 0).all()


@relaxed
@given(seeds, sizes, dtypes)
def test_division_undoes_the_jordan_product(seed, n, dtype):
    rng = np.random.default_rng(seed)
    a = inside(rng, n, dtype, 1e-2)
    b = jnp.asarray(rng.normal(size=(3, n)), dtype)
    error = np.abs(np.asarray(divide(jordan(a, b), a) - b))
    assert (error <= 1e4 * np.finfo(dtype).eps).all()


@relaxed
@given(seeds, dtypes)
def test_the_determinant_is_positive_on_the_boundary(seed, dtype):
    """What rounds onto the boundary must not become a division by zero."""
    x = np.random.default_rng(seed).normal(size=(2, 7)).astype(dtype)
    a = jnp.asarray(np.concatenate([np.linalg.norm(x, axis=0)[None], x]), dtype)
    assert (np.asarray(determinant(a)) > 0).all()
    assert np.isfinite(np.asarray(scaling(a, a).w)).all()


@relaxed
@given(angles, seeds, dtypes)
def test_rotation_maps_invert_each_other(angle, seed, dtype):
    axis = np.random.default_rng(seed).normal(size=3)
    vector = jnp.asarray(angle * axis / np.linalg.norm(axis), dtype)
    eps = np.finfo(dtype).eps
    back = rotations.logarithm(rotations.exponential(vector))
    np.testing.assert_allclose(back, vector, atol=100 * eps)
    matrix = np.asarray(rotations.to_matrix(rotations.exponential(vector)), float)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=20 * eps)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-6, np.pi - 1e-9, np.pi])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_of_rotation_maps_are_finite(angle, dtype):
    vector = jnp.asarray(angle * np.array([0.6, -0.64, 0.48]), dtype)
    there = jax.jacfwd(rotations.exponential)(vector)
    back = jax.jacfwd(rotations.logarithm)(rotations.exponential(vector))
    assert np.isfinite(np.asarray(there)).all()
    assert np.isfinite(np.asarray(back)).all()


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_cones_work_under_any_batch_shape(batch):
    rng = np.random.default_rng(0)
    n = int(np.prod(batch))
    x = np.stack([inside(rng, 5, np.float64, 1e-3) for _ in range(n)])
    d = rng.normal(size=x.shape)
    step = cone_step
    for _ in batch:
        step = jax.vmap(step)
    shaped = (a.reshape(*batch, 3, 5) for a in (jnp.asarray(x), jnp.asarray(d)))
    together = np.asarray(step(*shaped)).reshape(n, 5)
    alone = np.stack([cone_step(jnp.asarray(a), jnp.asarray(b)) for a, b in zip(x, d, strict=True)])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@relaxed
@given(seeds, sizes, dtypes, st.sampled_from([0, 1, (0, 1)]))
def test_sums_and_minima_are_those_of_numpy(seed, n, dtype, axis):
    """Zeros included, which the sum spares, and empty axes; derivatives in both modes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, n)) * rng.integers(0, 2, (3, n))
    tolerance = 10 * np.finfo(dtype).eps
    given_x = jnp.asarray(x, dtype)
    np.testing.assert_allclose(reduced(given_x, axis), x.sum(axis), atol=tolerance)
    np.testing.assert_array_equal(
        smallest(given_x, axis), np.asarray(given_x).min(axis, initial=np.inf)
    )
    weight = jnp.asarray(rng.normal(size=np.shape(x.sum(axis))), dtype)

    def loss(x):
        return jnp.sum(weight * reduced(x * x, axis))

    exact = 2 * x * np.expand_dims(weight, axis)
    np.testing.assert_allclose(jax.grad(loss)(given_x), exact, atol=10 * tolerance)
    _, rate = jax.jvp(loss, (given_x,), (jnp.ones_like(given_x),))
    np.testing.assert_allclose(rate, exact.sum(), atol=100 * tolerance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sums_and_minima_keep_what_is_not_finite(bad):
    for place in range(4):
        x = jnp.ones(4).at[place].set(bad)
        np.testing.assert_array_equal(reduced(x, 0), np.sum(x))
        np.testing.assert_array_equal(smallest(x, 0), np.min(x))


def test_a_factor_of_a_matrix_that_rounding_made_indefinite():
    """A light link at the end of a heavy one, in single precision; a well-behaved matrix beside."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    soft = (basis * np.geomspace(1e-9, 1, 12)) @ basis.T
    firm = (basis * np.geomspace(1e-2, 1, 12)) @ basis.T
    matrices = jnp.asarray(np.stack([soft, firm]), jnp.float32)
    assert np.linalg.eigvalsh(np.asarray(matrices[0], float)).min() < 0
    rhs = jnp.asarray(rng.normal(size=12), jnp.float32)
    x = jax.jit(jax.vmap(solve_positive, in_axes=(0, None)))(matrices, rhs)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x[1], np.linalg.solve(firm, rhs), rtol=1e-4, atol=1e-4)
