"""A batch of one is the lane alone: compilers treat axes of length one in ways of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo


def _pile(count):
    """Eight are enough for rows by the degrees of freedom that they move (`contact_rows`)."""
    bodies = "".join(
        f'<body pos=".0{k % 3} .0{k % 2} {0.055 + 0.105 * k:.3f}"><freejoint/>'
        f'<geom size=".05" mass=".5"/></body>'
        for k in range(count)
    )
    return (
        '<mujoco><option timestep=".005"/><worldbody><geom type="plane" size="1 1 .1"/>'
        f"{bodies}</worldbody></mujoco>"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_batch_of_one():
    """A step and its Jacobians among many bodies, in code as users compile it."""
    model = dojo.load(_pile(8), dtype=jnp.float32)
    state = dojo.init(model)
    v = 0.1 * np.random.default_rng(0).normal(size=model.nv)
    state = dojo.State(state.q, jnp.asarray(v, jnp.float32))

    def step(state):
        return dojo.step_and_linearize(model, state)

    alone = jax.jit(step)(state)
    lane = jax.jit(jax.vmap(step))(jax.tree.map(lambda x: x[None], state))
    assert alone[1].converged
    # Rounding of two compilations, which stiff contacts amplify: 1e-6 seen.
    for ours, reference in zip(*map(jax.tree.leaves, (lane, alone)), strict=True):
        scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
        np.testing.assert_allclose(ours[0], reference, atol=1e-4 * scale)
