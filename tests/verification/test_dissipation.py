"""Contact never makes energy: 1e5 random contact steps, shape by shape.

Random tosses end in rolling, sliding, pivoting, impact and rest. What a step may add:

- kappa / h, the energy of the barrier;
- for curved shapes gamma h w^2 R / 2: the impulse acts at the contact point of the step's start,
  and the gap is that of its end, where the support of curvature radius R has moved on. That is
  O(h^2) in lasting contact, as gamma is O(h) there.
"""

import numpy as np
import pytest
from rollouts import simulate, simulate_many, stacked
from scipy.spatial.transform import Rotation

import dojo

pytestmark = pytest.mark.usefixtures("optimized")
G, KAPPA, LANES = 9.81, 1e-10, 40
TOSSED = """
<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="1 1 1"/>
<body pos="0 0 .5"><freejoint/><geom {} mass="1"/></body></worldbody></mujoco>"""
# Largest curvature radius [m] of what can touch; corners and spheres have none that moves.
SHAPES = {
    "sphere": ('type="sphere" size=".1"', 0.0),
    "box": ('type="box" size=".1 .15 .2"', 0.0),
    "capsule": ('type="capsule" size=".08 .15"', 0.0),
    "ellipsoid": ('type="ellipsoid" size=".1 .15 .2"', 0.2**2 / 0.1),
}
CYLINDER = 'type="cylinder" size=".15 .1"'


def energies(model, q, v):
    """Energy [J] of single bodies, without dojo: (...,)."""
    inertia = np.diag(np.asarray(model.link_inertia[0]))
    return 0.5 * (v[..., :3] ** 2 + inertia * v[..., 3:] ** 2).sum(-1) + G * q[..., 2]


def random_tosses(model, rng):
    models, states = [], []
    for _ in range(LANES):
        turn = rng.normal(size=4)
        q = [0, 0, rng.uniform(0.25, 0.6), *(turn / np.linalg.norm(turn))]
        v = [*rng.uniform(-2, 2, 3), *rng.uniform(-6, 6, 3)]
        models.append(model.replace(geom_friction=rng.uniform(0.05, 1.0)))
        states.append(dojo.init(model, q=q, v=v))
    return stacked(models), stacked(states)


@pytest.mark.parametrize("shape", SHAPES)
def test_energy_never_rises_in_contact(shape, measured):
    geom, radius = SHAPES[shape]
    model = dojo.load(TOSSED.format(geom))
    h = float(model.timestep)
    models, first = random_tosses(model, np.random.default_rng(1))
    states, infos = simulate_many(models, first, 700, KAPPA)
    q = np.concatenate([first.q[:, None], states.q], axis=1)
    v = np.concatenate([first.v[:, None], states.v], axis=1)
    rise = np.diff(energies(model, q, v), axis=1)
    impulse = infos.contacts.impulse[..., 0].sum(-1)
    touching = impulse > 0.01 * G * h
    spin = np.linalg.norm(v[..., 3:], axis=-1)
    spin = np.maximum(spin[:, 1:], spin[:, :-1])
    allowed = 10 * KAPPA / h + impulse * h * spin**2 * radius / 2
    measured("contact_steps", int(touching.sum()))
    measured("largest_rise", rise[touching].max())
    measured("share_of_bound", (rise / allowed)[touching].max())
    measured("not_converged", int((~infos.converged).sum()))
    assert infos.converged.all()
    assert touching.sum() > 25_000
    assert (rise <= allowed).all()


def test_a_cylinder_landing_flat_makes_no_energy():
    """A converged step from a toss; measured: 4.4 J become 60 J."""
    model = dojo.load(TOSSED.format(CYLINDER)).replace(geom_friction=0.97)
    q = [0, 0, 0.10220077, -0.72104, -0.00504955, 0.00537153, -0.69285453]
    v = [1.5803044, -0.3008657, -1.6213291, 12.8498235, -1.1019596, -0.9892625]
    before = energies(model, np.array(q), np.array(v))
    states, infos = simulate(model, dojo.init(model, q=q, v=v), 1, KAPPA)
    assert infos.converged.all()
    assert energies(model, states.q[0], states.v[0]) < before * 1.01


def lowest(q, radius, half):
    """Height [m] of the lowest point of a cylinder, (...,)."""
    axis = Rotation.from_quat(q[..., [4, 5, 6, 3]].reshape(-1, 4)).as_matrix()[:, 2, 2]
    axis = np.abs(axis).reshape(q.shape[:-1])
    return q[..., 2] - half * axis - radius * np.sqrt(np.maximum(0, 1 - axis**2))


@pytest.mark.slow
@pytest.mark.parametrize(("radius", "half"), [(0.15, 0.1), (0.1, 0.01)])
def test_cylinders_landing_nearly_flat_make_no_energy(radius, half, measured):
    """240 landings at h = 0.001 to 0.02, turning at up to 18 rad/s.

    What a step may add comes from the arc of the rim, as for ellipsoids; and the corners, 45
    degrees apart, leave out of the rim at most 1 - cos(22.5 degrees) of r times the tilt.
    """
    model = dojo.load(TOSSED.format(f'type="cylinder" size="{radius} {half}"'))
    rng = np.random.default_rng(0)
    models, starts = [], []
    for k in range(240):
        lean = 10 ** rng.uniform(-3, -0.5)
        turn = Rotation.from_euler("zyz", [rng.uniform(0, 6.28), lean, rng.uniform(0, 6.28)])
        x, y, z, w = turn.as_quat()
        q = np.array([0, 0, 0, w, x, y, z])
        q[2] = 10 ** rng.uniform(-5, -1.7) - lowest(q, radius, half)
        v = [*rng.uniform(-2, 2, 2), rng.uniform(-3, 0), *rng.uniform(-13, 13, 2)]
        h = (0.001, 0.005, 0.01, 0.02)[k % 4]
        models.append(model.replace(timestep=h, geom_friction=rng.uniform(0.05, 1.0)))
        starts.append(dojo.init(model, q=q, v=[*v, rng.uniform(-10, 10)]))
    first = stacked(starts)
    states, infos = simulate_many(stacked(models), first, 25, KAPPA)
    before = energies(model, np.asarray(first.q), np.asarray(first.v))
    energy = np.column_stack([before, energies(model, states.q, states.v)])
    deepest = lowest(states.q, radius, half).min()
    solved = infos.converged.all(axis=1)
    rise = (np.diff(energy, axis=1).max(axis=1) / before)[solved]
    measured("largest_relative_rise", rise.max())
    measured("deepest_over_radius", deepest / radius)
    measured("not_converged", int((~infos.converged).sum()))
    assert solved.mean() > 0.99
    assert rise.max() < 0.01
    assert (energy[solved, 1:].max(axis=1) < before[solved]).all()
    assert deepest > -0.02 * radius
    assert infos.contacts.gap[solved].min() > -1e-9
