"""Factors by blocks and tree by tree, against those of the whole matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo
from dojo import step_problem
from dojo.physics.inertia import solve_mass
from dojo.solver.block_lu import block_factors


def chain(rng, bodies, near):
    """The matrix of bodies along a line that push their neighbours, and their order along it."""
    place = rng.uniform(size=bodies)
    matrix = np.kron(np.diag(rng.uniform(0.1, 1, bodies)), np.eye(6))
    for k in range(bodies):
        for j in np.argsort(np.abs(place - place[k]))[1 : near + 1]:
            row = np.zeros((3, bodies, 6))
            row[:, [j, k]] = rng.normal(size=(3, 2, 6))
            row = row.reshape(3, -1)
            # Friction that follows the normal impulse: not symmetric.
            answer = np.diag(10.0 ** rng.uniform(-3, 3, 3))
            answer[1:, 0] = 0.5 * answer[0, 0]
            matrix += row.T @ answer @ row
    return matrix, np.repeat(6 * np.argsort(place), 6) + np.tile(np.arange(6), bodies)


@pytest.mark.parametrize(("bodies", "near"), [(1, 0), (4, 3), (9, 1), (30, 2), (30, 29)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_solutions_are_those_of_the_whole_matrix(bodies, near, kind):
    rng = np.random.default_rng(bodies)
    cases = [chain(rng, bodies, near) for _ in range(3)]
    matrices, orders = (np.stack(x) for x in zip(*cases, strict=True))
    rhs = rng.normal(size=(3, 6 * bodies, 2))

    def solved(matrix, order, rhs):
        return block_factors(matrix, order).solve(rhs)

    given = jnp.asarray(matrices, kind), jnp.asarray(orders), jnp.asarray(rhs, kind)
    found = jax.jit(jax.vmap(solved))(*given)
    alone = jax.jit(solved)(*(x[0] for x in given))
    np.testing.assert_allclose(alone, found[0], rtol=0, atol=1e-6 * np.abs(alone).max())
    for matrix, x, b in zip(matrices, np.asarray(found, float), rhs, strict=True):
        expected = np.linalg.solve(matrix, b)
        error = np.abs(x - expected).max() / np.abs(expected).max()
        assert error < 20 * np.linalg.cond(matrix) * np.finfo(kind).eps


def test_what_does_not_couple_is_skipped():
    """Blocks that are zero in the order stay so; in another they are filled."""
    matrix, order = chain(np.random.default_rng(0), 40, 2)
    filled = [
        int((np.asarray(block_factors(jnp.asarray(matrix), o).blocks) != 0).any(axis=(2, 3)).sum())
        for o in (order, np.arange(len(matrix)))
    ]
    # Ten by ten, of which the diagonal and what is beside it.
    assert filled[0] <= 10 + 2 * (9 + 8)
    assert filled[1] > 70


@pytest.mark.slow
@pytest.mark.usefixtures("optimized_alone")
def test_many_bodies_move_as_with_whole_factors(monkeypatch):
    """Twenty-four balls on a floor and on each other; the iterations are the same."""
    places = np.random.default_rng(0).uniform(-0.2, 0.2, (24, 2))
    bodies = "".join(
        f'<body pos="{x:.3f} {y:.3f} {0.05 + 0.06 * k:.3f}"><freejoint/><geom size=".05"/></body>'
        for k, (x, y) in enumerate(places)
    )
    model = dojo.load(
        '<mujoco><option timestep=".01"/><worldbody><geom type="plane" size="1 1 .1"/>'
        f"{bodies}</worldbody></mujoco>"
    )
    found = []
    for least in (0, 10_000):
        monkeypatch.setattr(step_problem, "_MANY", least)
        # `dojo.step` is compiled once for all.
        jax.clear_caches()
        run = jax.jit(lambda state: dojo.rollout(model, state, jnp.zeros((30, 0))))
        found.append(run(dojo.init(model)))
    (ours, infos), (theirs, others) = found
    assert infos.converged.all()
    assert (infos.iterations == others.iterations).all()
    assert (infos.contacts.impulse[..., 0] > 1e-2).any()
    np.testing.assert_allclose(ours.q, theirs.q, rtol=0, atol=1e-9)


def test_mass_matrices_are_solved_tree_by_tree():
    """An arm of two links among balls: trees of other sizes, in an order of their own."""
    ball = '<body pos="{} 0 1"><freejoint/><geom size=".1" pos=".05 0 .02"/></body>'
    arm = (
        '<body><joint axis="0 1 0"/><geom size=".1" pos=".2 0 0"/>'
        '<body pos=".4 0 0"><joint axis="0 1 1"/><geom size=".1" pos=".1 .1 0"/></body></body>'
    )
    balls = [ball.format(k) for k in range(1, 6)]
    model = dojo.load(
        f"<mujoco><worldbody>{balls[0]}{arm}{''.join(balls[1:])}</worldbody></mujoco>"
    )
    rng = np.random.default_rng(0)
    mass = dojo.mass_matrix(model, model.q_rest + 0.3 * rng.normal(size=model.nq))
    rhs = rng.normal(size=model.nv)
    found = jax.jit(lambda m, b: solve_mass(model, m, b))(mass, jnp.asarray(rhs))
    np.testing.assert_allclose(found, np.linalg.solve(mass, rhs), rtol=1e-10, atol=1e-10)
