"""A GPU gives the answers of the CPU. Skipped where JAX finds none."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo

MODELS = Path(__file__).parents[1] / "models"
GPUS = [device for device in jax.devices() if device.platform == "gpu"]
LANES, STEPS = 64, 60

pytestmark = pytest.mark.skipif(not GPUS, reason="JAX finds no GPU on this machine")


def _moved(model, device):
    """States (LANES, ...) after a rollout under random control, and what the steps reported."""
    us = np.random.default_rng(0).uniform(-1, 1, (LANES, STEPS, model.nu)).astype(model.dtype)

    def last(us):
        states, infos = dojo.rollout(model, dojo.init(model), us)
        return jax.tree.map(lambda x: x[-1], states), infos

    return jax.jit(jax.vmap(last))(jax.device_put(us, device))


@pytest.mark.parametrize("name", ["hopper", "quadruped"])
def test_steps_and_jacobians_are_those_of_the_cpu(name):
    """From the same states, so that chaos has no part in it."""
    model = dojo.load(MODELS / f"{name}.xml")
    start, infos = _moved(model, GPUS[0])
    assert infos.converged.all()
    us = np.random.default_rng(1).uniform(-1, 1, (LANES, model.nu))
    both = []
    for device in (GPUS[0], jax.devices("cpu")[0]):
        placed = jax.device_put((model, start, us), device)
        step = jax.jit(jax.vmap(dojo.step_and_linearize, in_axes=(None, 0, 0)))
        after, info, jacobians = step(*placed)
        assert info.converged.all()
        both.append(jax.device_get((after, info.contacts.gap, jacobians)))
    for ours, reference in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-7, atol=1e-9)


def test_single_precision_converges_and_agrees_with_double():
    """TF32, the default precision of matrix products on such devices, would spoil both."""
    single, double = (
        dojo.load(MODELS / "quadruped.xml", dtype=dtype) for dtype in (jnp.float32, jnp.float64)
    )
    start, infos = _moved(single, GPUS[0])
    assert infos.converged.mean() > 0.999
    us = np.zeros((LANES, single.nu))
    kappa = dojo.SolverOptions(kappa=1e-4)
    ends = []
    for model in (single, double):
        at = jax.tree.map(lambda x, m=model: jnp.asarray(x, m.dtype), start)
        after, _ = jax.jit(jax.vmap(lambda s, u, m=model: dojo.step(m, s, u, options=kappa)))(
            at, jnp.asarray(us, model.dtype)
        )
        ends.append(np.asarray(after.v))
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-3 * np.abs(ends[1]).max())
