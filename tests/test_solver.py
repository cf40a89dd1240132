"""The solver's algebra against autodiff and definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS

import dojo
from dojo.math import rotations
from dojo.solver import interior_point
from dojo.solver.cones import cone_step, orthant_step
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, residual
from dojo.step import Inputs, StepProblem


@pytest.mark.parametrize("name", ["hopper", "quadruped"])
def test_newton_system_is_the_derivative_of_the_residual(name):
    """The closed-form, eliminated system inverts what autodiff says of the residual."""
    model = dojo.load(MODELS / f"{name}.xml", timestep=0.01)
    rng = np.random.default_rng(0)
    state = dojo.init(model, v=rng.normal(size=model.nv))
    u = jnp.asarray(rng.uniform(-1, 1, model.nu))

    @jax.jit
    def inverted(noise, direction):
        problem = StepProblem.build(Inputs(model, state.q, state.v, u, None))
        x = jax.tree.map(lambda a, n: a * (1 + 0.01 * n), interior_point.start(problem), noise)

        def equations(x):
            return residual(problem, problem.rows(x.v), x, jnp.asarray(1e-4))

        _, rate = jax.jvp(equations, (x,), (direction,))
        _, tangent = problem.linearize(x.v)
        return newton_system(problem, tangent, x).solve(rate)

    problem = StepProblem.build(Inputs(model, state.q, state.v, u, None))
    shape = interior_point.start(problem)
    noise, direction = (
        jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), shape) for _ in range(2)
    )
    result = inverted(noise, direction)
    for field in Point._fields:
        np.testing.assert_allclose(
            getattr(result, field), getattr(direction, field), atol=1e-10, err_msg=field
        )


def test_cone_step_ends_on_the_boundary():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 500))
    x0 = np.linalg.norm(x, axis=0) + rng.uniform(1e-6, 1, 500)
    d0, d = rng.normal(size=500), rng.normal(size=(2, 500))
    length = np.asarray(cone_step(jnp.asarray(x0), jnp.asarray(x), jnp.asarray(d0), jnp.asarray(d)))
    bounded = np.isfinite(length)
    assert 0 < bounded.sum() < 500
    end0, end = (x0 + length * d0)[bounded], (x + length * d)[:, bounded]
    np.testing.assert_allclose(end0, np.linalg.norm(end, axis=0), atol=1e-9)
    # Unbounded directions stay inside however far one goes.
    far0, far = (x0 + 1e6 * d0)[~bounded], (x + 1e6 * d)[:, ~bounded]
    assert (far0 >= np.linalg.norm(far, axis=0) * (1 - 1e-12)).all()


def test_orthant_step():
    length = orthant_step(jnp.array([1.0, 2.0, 3.0]), jnp.array([-2.0, 1.0, 0.0]))
    np.testing.assert_array_equal(length, [0.5, np.inf, np.inf])


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1e-3, 1.0, 3.0, np.pi - 1e-7])
def test_rotation_maps_invert_each_other(angle):
    axis = np.array([0.6, -0.64, 0.48])
    vector = jnp.asarray(angle * axis)
    np.testing.assert_allclose(
        rotations.logarithm(rotations.exponential(vector)), vector, atol=1e-9
    )
    matrix = rotations.to_matrix(rotations.exponential(vector))
    np.testing.assert_allclose(np.asarray(matrix @ matrix.T), np.eye(3), atol=1e-14)
    jacobian = jax.jacfwd(rotations.exponential)(vector)
    assert np.isfinite(np.asarray(jacobian)).all()
    half = jnp.tan(min(angle, 3.0) / 2) * axis
    back = rotations.cayley_vector(rotations.to_matrix(rotations.cayley(half)))
    np.testing.assert_allclose(back, half, rtol=1e-9, atol=1e-14)
