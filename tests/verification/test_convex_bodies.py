"""Convex bodies against each other: momentum, energy, and piles that are solved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulator import energies, momenta, simulate

import dojo

pytestmark = pytest.mark.usefixtures("optimized")
TETRAHEDRON = (
    '<asset><mesh name="stone" vertex=".1 .1 .1 -.1 -.1 .1 -.1 .1 -.1 .1 -.1 -.1"/></asset>'
)
COLLISIONS = f"""<mujoco><option gravity="0 0 0" timestep=".01"/>{TETRAHEDRON}<worldbody>
<body name="stone" pos="0 0 0" euler="20 30 0"><freejoint/><geom type="mesh" mesh="stone"/></body>
<body pos=".4 .02 .03" euler="40 0 0"><freejoint/><geom type="ellipsoid" size=".1 .06 .08"/></body>
<body name="can" pos="-.4 0 .05" euler="70 0 0"><freejoint/>
<geom type="cylinder" size=".06 .1"/></body>
<body pos="-.8 .03 .06"><freejoint/><geom size=".08"/></body>
</worldbody></mujoco>"""


@pytest.mark.parametrize("h", [0.01, 0.0025])
def test_collisions_keep_momentum_and_take_energy(h):
    """An ellipsoid hits a mesh at 1 m/s, a sphere a cylinder that spins, which meet later.

    Energy rises within a step by no more than that is true to, of second order in h, and what the
    barrier of a contact may give back, kappa / h.
    """
    model, kappa = dojo.load(COLLISIONS, h), 1e-8
    v = np.zeros((4, 6))
    v[1, 0], v[3, 0], v[2, 3:] = -1.0, 1.0, [1.0, 2.0, 0.5]
    states, infos = simulate(model, dojo.init(model, v=v.ravel()), round(1 / h), kappa=kappa)
    assert infos.converged.all()
    geoms = np.asarray(infos.contacts.geoms)[0]
    hit = infos.contacts.impulse[:, :, 0].max(axis=0) > 1e-3
    assert {(0, 1), (2, 3), (0, 2)} <= {tuple(sorted(pair)) for pair in geoms[hit].tolist()}
    momentum, energy = momenta(model, states), np.asarray(energies(model, states))
    assert np.abs(momentum - momentum[0]).max() < 1e-12
    assert np.diff(energy).max() < energy[0] * h * h + kappa / h
    assert energy[-1] < 0.5 * energy[0]


BRICK = " ".join(
    f"{x} {y} {z}" for x in (-0.07, 0.07) for y in (-0.05, 0.05) for z in (-0.03, 0.03)
)
WEDGE = "-.07 -.05 -.03 .07 -.05 -.03 -.07 .05 -.03 .07 .05 -.03 -.07 -.05 .05 .07 -.05 .05"
MESHES = (
    f'<asset><mesh name="brick" vertex="{BRICK}"/><mesh name="wedge" vertex="{WEDGE}"/></asset>'
)
PILES = {
    "ellipsoids": ['type="ellipsoid" size=".07 .05 .06"'],
    "meshes, boxes and rods": [
        'type="mesh" mesh="brick"',
        'type="box" size=".06 .05 .04"',
        'type="mesh" mesh="wedge"',
        'type="capsule" size=".03 .07"',
    ],
    "cylinders": [
        'type="cylinder" size=".03 .08"',
        'type="cylinder" size=".05 .05"',
        'type="cylinder" size=".07 .01"',
    ],
}


# Of 2400 steps: those not solved, and solved ones that gain more than 0.06 of what lifts all bodies
# by 0.1 m, as flat bodies do when another feature takes over; measured 0 and 0, 1 and 0, 4 and 0.
ALLOWED = {"ellipsoids": (0, 0), "meshes, boxes and rods": (4, 0), "cylinders": (12, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PILES)
def test_piles_are_solved_and_gain_no_energy(kind):
    """Sixteen piles of five, dropped from 0.15 to 1.15 m turned at random.

    They hit each other at up to 5 m/s and spin at up to 60 rad/s, half a radian in a step.
    """
    geoms = PILES[kind]
    bodies = "".join(
        f'<body pos="0 0 {0.15 + 0.25 * k}"><freejoint/><geom {geoms[k % len(geoms)]}/></body>'
        for k in range(5)
    )
    floor = '<geom type="plane" size="3 3 .1"/>'
    xml = (
        f'<mujoco><option timestep="0.01"/>{MESHES}<worldbody>{floor}{bodies}</worldbody></mujoco>'
    )
    model, rng = dojo.load(xml), np.random.default_rng(0)
    q = np.tile(np.asarray(dojo.init(model).q).reshape(1, 5, 7), (16, 1, 1))
    q[..., :2] += 0.02 * rng.normal(size=(16, 5, 2))
    q[..., 3:] = rng.normal(size=(16, 5, 4))
    q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)

    @jax.jit
    @jax.vmap
    def fallen(q):
        start = dojo.State(q, jnp.zeros(model.nv))
        us = jnp.zeros((150, model.nu))
        states, infos = dojo.rollout(model, start, us, options=dojo.SolverOptions(kappa=1e-6))
        energy = jax.vmap(lambda q, v: sum(dojo.energy(model, dojo.State(q, v))))
        return energy(states.q, states.v), infos.converged, infos.contacts.gap.min()

    energy, converged, gap = fallen(jnp.array(q.reshape(16, -1)))
    lift = float(model.link_mass.sum()) * 9.81 * 0.1
    rises = np.diff(np.asarray(energy), axis=1)[np.asarray(converged)[:, 1:]] / lift
    unsolved, gaining = ALLOWED[kind]
    assert (~converged).sum() <= unsolved
    assert (rises > 0.06).sum() <= gaining
    if kind == "ellipsoids":
        assert rises.max() < 0.01
        assert gap.min() > 0
    # Those that were solved throughout have come to rest, or nearly.
    solved = np.asarray(converged).all(axis=1)
    assert (energy[solved, -1] < 0.5 * energy[solved, 0]).all()
