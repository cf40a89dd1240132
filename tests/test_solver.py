"""The solver's algebra against autodiff and definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS

import dojo
from dojo.math import rotations
from dojo.solver import interior_point, searches
from dojo.solver.cones import cone_step, divide, jordan, orthant_step, scaling
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, residual
from dojo.solver.searches import Radii
from dojo.step_problem import Inputs, StepProblem

DRY = ('<joint damping="1" armature="1"/>', '<joint damping="1" armature="1" frictionloss="3"/>')


@pytest.mark.parametrize("name", ["hopper", "quadruped", "dry hopper"])
def test_newton_system_is_the_derivative_of_the_residual(name):
    """On the central path the scaled, eliminated system inverts what autodiff says."""
    text = (MODELS / f"{name.split()[-1]}.xml").read_text()
    model = dojo.load(text.replace(*DRY) if "dry" in name else text, timestep=0.01)
    assert len(model.topology.dry_dofs) == (3 if "dry" in name else 0)
    rng = np.random.default_rng(0)
    state = dojo.init(model, v=rng.normal(size=model.nv))
    u = jnp.asarray(rng.uniform(-1, 1, model.nu))

    problem = StepProblem.build(Inputs(model, state.q, state.v, u, None))
    kappa = jnp.asarray(1e-3)
    x = interior_point.solve(problem, None, kappa, 1e-9, 60).x
    direction = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), x)

    @jax.jit
    def inverted(problem, x, direction):
        def equations(x):
            return residual(problem, problem.rows(x.v), x, kappa)

        _, rate = jax.jvp(equations, (x,), (direction,))
        _, tangent = problem.linearize(x.v)
        return newton_system(problem, tangent, x).solve(rate)

    result = inverted(problem, x, direction)
    for field in Point._fields:
        np.testing.assert_allclose(
            getattr(result, field), getattr(direction, field), atol=1e-10, err_msg=field
        )


@pytest.mark.parametrize(("dtype", "iterations"), [("float32", 0), ("float64", 1)])
def test_a_solution_is_seen_to_be_one(dtype, iterations):
    """In double precision the step that squares the residual is taken from there, and no other."""
    model = dojo.load(MODELS / "hopper.xml", timestep=0.01, dtype=dtype)
    start = dojo.init(model)
    u = jnp.zeros(model.nu, model.dtype)
    problem = StepProblem.build(Inputs(model, start.q, start.v, u, None))
    kappa, tolerance = jnp.asarray(1e-4, model.dtype), 1e-4 if dtype == "float32" else 1e-9
    solve = jax.jit(lambda x: interior_point.solve(problem, x, kappa, tolerance, 60))
    first = solve(None)
    again = solve(first.x)
    assert first.converged
    assert again.converged
    assert first.iterations > 2
    assert again.iterations == iterations


def test_a_first_search_begins_with_what_contacts_lack():
    """A box that falls level: the lower corners are led into the floor, the upper ones are not."""
    model = dojo.load(MODELS / "box.xml", timestep=0.01)
    start = dojo.init(model, v=[0, 0, -5.0, 0, 0, 0])
    problem = StepProblem.build(Inputs(model, start.q, start.v, jnp.zeros(0), None))
    v, kappa = problem.starts()[1], jnp.asarray(1e-8)
    rows, (momentum, length, _) = problem.rows(v), problem.scales.size
    even, uneven = (
        problem.centered(v, rows, jnp.asarray(0.1), kappa, first) for first in (False, True)
    )
    np.testing.assert_allclose(even.gamma * even.slack, 0.1 * momentum * length)
    led_in = rows.gap < 0
    assert led_in.sum() == 4
    lacked = kappa + 0.08 * momentum * (0.1 * length - rows.gap)
    expected = jnp.where(led_in, lacked, 0.008 * momentum * length)
    np.testing.assert_allclose(uneven.gamma * uneven.slack, expected)


def test_the_fixed_point_of_the_radii_leads_to_the_solution(monkeypatch):
    """Searches with held radii alone find what the free ones find, and through more than one."""
    model = dojo.load(MODELS / "hopper.xml", timestep=0.01)
    rng = np.random.default_rng(0)
    q = jnp.asarray(model.q_rest + rng.uniform(-0.1, 0.1, (32, model.nq)))
    v, kappa = jnp.asarray(rng.normal(size=(32, model.nv))), jnp.asarray(1e-6)
    us = jnp.asarray(rng.uniform(-1, 1, (32, model.nu)))

    def solved(q, v, u):
        problem = StepProblem.build(Inputs(model, q, v, u, None))
        return interior_point.solve(problem, None, kappa, 1e-9, 400)

    free = jax.jit(jax.vmap(solved))(q, v, us)
    monkeypatch.setattr(searches, "SEARCHES", 20 * searches.FIXED_POINT)
    held = jax.jit(jax.vmap(lambda *a: solved(*a)))(q, v, us)
    assert free.converged.all()
    assert held.converged.all()
    assert held.iterations.max() > 2 * free.iterations.max()
    touching = free.x.orthant[:, 0, : model.topology.nc].max(1) > 1e-2
    assert touching.sum() > 8
    np.testing.assert_allclose(held.x.v, free.x.v, rtol=1e-6, atol=1e-8)


def test_among_many_bodies_the_fixed_point_is_found_from_a_jam(monkeypatch):
    """A heap of balls: searches that hold the radii of a first try lead to the same solution."""
    balls = "".join(
        f'<body pos="{x} {y} {z}"><freejoint/><geom size=".1" mass="1" friction=".5"/></body>'
        for x, y, z in np.argwhere(np.ones((2, 2, 2))) * 0.201 + [0, 0, 0.101]
    )
    floor = '<geom type="plane" size="3 3 .1" friction=".5"/>'
    model = dojo.load(f"<mujoco><worldbody>{floor}{balls}</worldbody></mujoco>", timestep=0.01)
    rng = np.random.default_rng(0)
    q = jnp.asarray(model.q_rest)
    v, kappa = jnp.asarray(rng.normal(size=(8, model.nv))), jnp.asarray(1e-8)

    def solved(v):
        problem = StepProblem.build(Inputs(model, q, v, jnp.zeros(0), None))
        assert problem.of_many
        return interior_point.solve(problem, None, kappa, 1e-9, 800)

    free = jax.jit(jax.vmap(solved))(v)
    jam = ((1, 0.1, searches.AFRESH), *6 * searches.FROM_JAM, *searches.FIXED_POINT)
    monkeypatch.setattr(searches, "AMONG_MANY", jam)
    held = jax.jit(jax.vmap(lambda v: solved(v)))(v)
    assert free.converged.all()
    assert held.converged.all()
    assert held.iterations.min() > 1.5 * free.iterations.max()
    assert (free.x.orthant[:, 0] > 1e-2).sum(axis=1).min() > 3
    np.testing.assert_allclose(held.x.v, free.x.v, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rate", [0.9, -0.98, -1.0, 1.02])
def test_the_relaxation_finds_fixed_points_that_iteration_does_not(rate):
    """A map that creeps towards its fixed point, goes round it, or leaves it."""
    fixed = jnp.asarray([2.0, 3.0, 5.0])
    direction = jnp.asarray([1.0, -0.5, 0.2])

    def led_to(radius):
        along = (radius - fixed) @ direction / (direction @ direction)
        return fixed + rate * along * direction

    radii = Radii.at(fixed + 0.8 * direction)
    for _ in range(8):
        radii = radii.found(led_to(radii.held))
    assert (radii.held > 0).all()
    left = float(jnp.abs(radii.held - fixed).max())
    if rate < 1:
        assert left < 1e-4
    else:
        assert left > 1.0  # after what runs away


def inside(rng, n, nearest=1e-8):
    """Random vectors inside the cone, some of them close to its boundary."""
    x = rng.normal(size=(2, n))
    margin = nearest ** rng.uniform(-0.1, 1, n)
    return jnp.asarray(np.concatenate([(np.linalg.norm(x, axis=0) + margin)[None], x]))


def test_scaling_maps_one_vector_to_the_other():
    rng = np.random.default_rng(0)
    # Scaling loses the digits of the margin: 1e-4 leaves twelve.
    beta, eta = inside(rng, 300, 1e-4), inside(rng, 300, 1e-4)
    scaled = scaling(beta, eta)
    twice = scaled.size * scaled.times(scaled.times(eta))
    np.testing.assert_allclose(twice, beta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(scaled.times(scaled.over(beta)), beta, rtol=1e-10, atol=1e-12)


def test_scaling_eliminates_the_first_component():
    """ratio and schur are those of K, column by column."""
    scaled = scaling(*(inside(np.random.default_rng(k), 50) for k in (1, 2)))
    unit = jnp.broadcast_to(jnp.eye(3)[:, :, None], (3, 3, 50))
    k = np.stack(
        [np.asarray(scaled.size * scaled.times(scaled.times(unit[j]))) for j in range(3)], axis=1
    )
    np.testing.assert_allclose(scaled.first_row(), k[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scaled.ratio(), k[1:, 0] / k[0, 0], rtol=1e-9, atol=1e-12)
    schur = k[1:, 1:] - k[1:, :1] * k[:1, 1:] / k[0, 0]
    size = np.abs(k).max((0, 1))
    np.testing.assert_allclose(scaled.schur() / size, schur / size, atol=1e-12)


def test_division_undoes_the_jordan_product():
    rng = np.random.default_rng(3)
    a, b = inside(rng, 200), jnp.asarray(rng.normal(size=(3, 200)))
    back = divide(jordan(a, b), a)
    np.testing.assert_allclose(back, b, rtol=1e-6, atol=1e-6)


def test_cone_step_ends_on_the_boundary():
    rng = np.random.default_rng(0)
    x, d = inside(rng, 500), jnp.asarray(rng.normal(size=(3, 500)))
    length = np.asarray(cone_step(x, d))
    bounded = length < 1e10
    assert 0 < bounded.sum() < 500
    end = np.asarray(x + np.where(bounded, length, 0.0) * d)[:, bounded]
    np.testing.assert_allclose(end[0], np.linalg.norm(end[1:], axis=0), atol=1e-9, rtol=1e-7)
    # Unbounded directions stay inside however far one goes.
    far = np.asarray(x + 1e6 * d)[:, ~bounded]
    assert (far[0] >= np.linalg.norm(far[1:], axis=0) * (1 - 1e-12)).all()


def test_cone_step_straight_down_the_axis():
    """Both roots are equal there, and round to a negative discriminant."""
    x = jnp.array([[0.3, 1.7], [0.0, 1e-16], [0.0, 0.0]])
    np.testing.assert_allclose(cone_step(x, -0.7 * x), [1 / 0.7] * 2, rtol=1e-7)


def test_orthant_step():
    length = orthant_step(jnp.array([1.0, 2.0, 3.0]), jnp.array([-2.0, 1.0, 0.0]))
    assert length[0] == 0.5
    assert (length[1:] > 1e300).all()


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


def test_light_bodies_wedged_in_by_nanometres():
    """Gaps under a nanometre, impulses of 5000 N s between bodies of 2.5 g: rounding is kept small.

    With directions put together from the affine one and centering the residual stays at 2e-7 of its
    scale, two hundred times the tolerance.
    """
    size, gap = 0.0095, 6e-10
    pieces = "".join(
        '<body><joint type="ball" armature="1e-4" damping="5e-4" frictionloss="1e-3"/>'
        f'<geom type="box" size="{size} {size} {size}" mass=".0025" condim="1" '
        f'pos="{" ".join(str(sign * (size + gap / 2)) for sign in signs)}"/></body>'
        for signs in itertools.product((-1, 1), repeat=3)
    )
    model = dojo.load(
        f'<mujoco><option timestep=".01" gravity="0 0 0"/><worldbody>{pieces}</worldbody></mujoco>',
        contact_budget=100,
    )
    start = dojo.init(model, v=[0.1, *[0.0] * 23])
    _, infos = jax.jit(dojo.rollout)(model, start, jnp.zeros((2, 0)))
    assert (infos.status == dojo.Status.CONVERGED).all()
    assert infos.iterations.max() < 60
    assert jnp.abs(infos.contacts.impulse).max() > 1e3
    assert infos.residual.max() < 1e-10
