"""Contact rows by the degrees of freedom they move, against dense ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo
from dojo.physics import contact_rows

# Balls in a heap; one hangs on an arm, so that a contact moves up to seven degrees of freedom.
BALLS = "".join(
    f'<body pos="{0.19 * (k % 3):.2f} {0.19 * (k // 3 % 3):.2f} .1"><freejoint/>'
    f'<geom size=".1" mass=".5" condim="{(3, 1)[k % 2]}"/></body>'
    for k in range(9)
)
HEAP = f"""<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="3 3 .1"/>{BALLS}
<body pos=".1 .1 .5"><freejoint/><geom type="box" size=".05 .05 .05" contype="0" conaffinity="0"/>
<body><joint axis="0 1 0"/><geom size=".1" pos="0 0 -.25" mass=".3" condim="4"/></body></body>
</worldbody></mujoco>"""


@pytest.fixture
def results(monkeypatch):
    """A step and its Jacobian with rows of either kind."""
    found = []
    for many in (contact_rows._MANY, 10**9):
        monkeypatch.setattr(contact_rows, "_MANY", many)
        contact_rows._dofs_of_links.cache_clear()
        jax.clear_caches()
        model = dojo.load(HEAP, contact_budget=100)
        sparse = contact_rows._dofs_of_links(model.topology) is not None
        assert sparse == (many < 10**9)
        v = np.random.default_rng(0).normal(size=model.nv)
        options = dojo.SolverOptions(kappa=1e-4)
        start = dojo.init(model, v=v)
        found.append(jax.jit(dojo.step_and_linearize)(model, start, options=options))
    contact_rows._dofs_of_links.cache_clear()
    jax.clear_caches()
    return found


def test_rows_of_either_kind_give_the_same_step(results):
    (first, info, jacobians), (second, other, expected) = results
    assert info.converged
    assert int(info.iterations) == int(other.iterations)
    assert (np.asarray(info.contacts.impulse)[:, 0] > 1e-2).sum() > 9
    for mine, theirs in zip(
        jax.tree.leaves((first, info)), jax.tree.leaves((second, other)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
    assert jnp.abs(expected[0]).max() > 1
    np.testing.assert_allclose(jacobians[0], expected[0], rtol=1e-7, atol=1e-7)
