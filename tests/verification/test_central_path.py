"""The central path: products at kappa, and the complementarity problem that kappa -> 0 leads to.

The limits are computed here by enumeration of the contact modes, with numpy and scipy alone.
"""

import itertools

import numpy as np
import pytest
from paths import MODELS
from rollouts import simulate
from scipy.optimize import fsolve

import dojo

G, H = 9.81, 0.01
KAPPAS = (1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12)


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml", timestep=H)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_gap_and_force_follow_the_barrier_law(box, kappa, measured):
    """At rest: gamma gap = kappa in every corner, and the corners carry m g h."""
    states, infos = simulate(box, dojo.init(box), 300, kappa)
    impulse, gap = infos.contacts.impulse[-1, :, 0], infos.contacts.gap[-1]
    law = H * G / 4 * gap[gap < 0.1] / kappa
    measured("gap_over_law", law)
    assert infos.converged.all()
    assert law.shape == (4,)
    # A gap is a difference of heights of up to half a metre, and rounded as these are.
    rounding = 0.5 * np.finfo(float).eps / gap.min()
    np.testing.assert_allclose(impulse * gap, kappa, rtol=1e-6 + rounding)
    # The four upper corners, 0.5 m up, pull their share of kappa / 0.5 m.
    np.testing.assert_allclose(impulse.sum(), G * H, rtol=1e-9)
    np.testing.assert_allclose(law, 1.0, rtol=1e-6 + rounding + 4 * kappa / 0.5 / (G * H))
    assert np.abs(states.v[-1]).max() < 1e-8


BALL = """
<mujoco><option timestep="0.01"/><worldbody>
  {planes}
  <body pos="0 0 1"><freejoint/>
    <geom type="sphere" size="0.1" mass="2" friction="{mu}" condim="{condim}"/></body>
</worldbody></mujoco>"""
FLOOR = '<geom type="plane" size="5 5 1" friction="{mu}" condim="{condim}"/>'
# Walls through the origin, leaning outwards: normals (1, 0, 1) and (0, 1, 2), normalized.
LEFT = '<geom type="plane" size="5 5 1" zaxis="1 0 1" friction="{mu}" condim="{condim}"/>'
BACK = '<geom type="plane" size="5 5 1" zaxis="0 1 2" friction="{mu}" condim="{condim}"/>'
NORMALS = np.array([[0, 0, 1], [1, 0, 1] / np.sqrt(2), [0, 1, 2] / np.sqrt(5)])
MASS, RADIUS = 2.0, 0.1


def ball(planes, mu):
    """A 2 kg ball over some of the planes."""
    planes = "".join((FLOOR, LEFT, BACK)[k] for k in planes)
    xml = BALL.replace("{planes}", planes)
    return dojo.load(xml.format(mu=mu, condim=3 if mu else 1))


def enumerated_lcp(normals, gap, free):
    """Normal impulses and velocity: 0 <= p, 0 <= gap + h n.v+, by trying every active set."""
    for size in range(len(normals) + 1):
        for active in itertools.combinations(range(len(normals)), size):
            n, p = normals[list(active)], np.zeros(len(normals))
            if size:
                delassus = H * n @ n.T / MASS
                p[list(active)] = np.linalg.solve(delassus, -(gap[list(active)] + H * n @ free))
            after = free + normals.T @ p / MASS
            if (p >= -1e-12).all() and (gap + H * normals @ after >= -1e-12).all():
                return p, after
    raise AssertionError("no solution")


def case(rng, normals):
    """A ball close to all planes, moving into them: (position, velocity, gaps)."""
    gap = rng.uniform(0.0, 0.01, len(normals))
    position = np.linalg.lstsq(normals, gap + RADIUS, rcond=None)[0]
    return position, -rng.uniform(0.3, 3, len(normals)) @ normals + 0.5 * rng.normal(size=3), gap


@pytest.mark.parametrize("seed", range(6))
def test_frictionless_corner_tends_to_the_enumerated_lcp(seed, measured):
    """A ball falls into a corner of three planes: impulses and velocity, one step."""
    model = CORNER
    position, velocity, gap = case(np.random.default_rng(seed), NORMALS)
    free = velocity - [0, 0, H * G]
    impulse, after = enumerated_lcp(NORMALS, gap, free)
    start = dojo.init(model, q=[*position, 1, 0, 0, 0], v=[*velocity, 0, 0, 0])
    errors = []
    for kappa in (1e-6, 1e-8, 1e-10, 1e-12):
        states, infos = simulate(model, start, 1, kappa)
        assert infos.converged.all()
        order = plane_order(infos)
        wrong = np.abs(infos.contacts.impulse[0, order, 0] - impulse).max()
        errors.append(max(wrong, np.abs(states.v[0, :3] - after).max()))
    measured("active", int((impulse > 0).sum()))
    measured("errors", errors)
    assert errors[-1] < 1e-7
    np.testing.assert_allclose(np.array(errors[1:]) / errors[:-1], 0.01, rtol=0.2)


CORNER = ball((0, 1, 2), 0.0)


def plane_order(infos):
    """Contacts in the order of NORMALS."""
    frames = infos.contacts.frame[0, :, 0]
    return np.argmax(NORMALS[: len(frames)] @ frames.T, axis=1)


def contact_rows(normal, gap):
    """Velocity of the contact point, midway in the gap, by that of the ball: (3, 6)."""
    first = np.linalg.svd(normal[None])[2][1]
    second = np.cross(normal, first)
    arm = -(RADIUS + gap / 2) * normal
    return np.array([[*axis, *np.cross(arm, axis)] for axis in (normal, first, second)])


def enumerated_ncp(normals, gap, free, mu):
    """Coulomb contacts by trying open, stick and slip of each: impulses (n, 3) and velocity."""
    rows = np.array([contact_rows(*pair) for pair in zip(normals, gap, strict=True)])
    inverse = np.diag([1 / MASS] * 3 + [1 / (0.4 * MASS * RADIUS**2)] * 3)

    def velocity(impulses):
        return free + inverse @ np.einsum("ckj,ck->j", rows, impulses)

    for modes in itertools.product(("open", "stick", "slip"), repeat=len(normals)):

        def equations(x, modes=modes):
            impulses = x.reshape(-1, 3)
            parts = []
            for mode, g, p, u in zip(modes, gap, impulses, rows @ velocity(impulses), strict=True):
                slip = u[1:] / (np.linalg.norm(u[1:]) + 1e-300)
                lost = {"open": p[1:], "stick": u[1:], "slip": p[1:] + mu * p[0] * slip}[mode]
                parts += [p[0] if mode == "open" else g / H + u[0], *lost]
            return parts

        guess = np.tile([MASS, 0.01, 0.01], len(normals))
        x = fsolve(equations, guess, xtol=1e-13, full_output=True)[0]
        impulses = x.reshape(-1, 3)
        after = velocity(impulses)
        normal, tangential = impulses[:, 0], np.linalg.norm(impulses[:, 1:], axis=1)
        admissible = (normal >= -1e-9) & (gap / H + (rows @ after)[:, 0] >= -1e-9)
        admissible &= tangential <= mu * normal + 1e-9
        if np.abs(equations(x)).max() < 1e-9 and admissible.all():
            return normal, after, modes
    raise AssertionError("no solution")


WEDGE = ball((0, 1), 0.3)
SPINS = np.array([[0.0, 0, 0], [5, -20, 3], [0, 10, 0], [-30, 0, 0]])


@pytest.mark.parametrize("mu", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_wedge_with_friction_tends_to_the_enumerated_ncp(seed, mu, measured):
    """A spinning ball falls into a wedge of two rough planes: one step."""
    normals = NORMALS[:2]
    position, velocity, gap = case(np.random.default_rng(10 + seed), normals)
    free = np.array([*velocity, *SPINS[seed]]) - [0, 0, H * G, 0, 0, 0]
    impulse, after, modes = enumerated_ncp(normals, gap, free, mu)
    model = WEDGE.replace(geom_friction=mu)
    start = dojo.init(model, q=[*position, 1, 0, 0, 0], v=[*velocity, *SPINS[seed]])
    errors = []
    for kappa in (1e-8, 1e-10, 1e-12):
        states, infos = simulate(model, start, 1, kappa)
        assert infos.converged.all()
        normal = infos.contacts.impulse[0, plane_order(infos), 0]
        wrong = np.abs(states.v[0, :3] - after[:3]).max()
        errors.append(max(wrong, np.abs(normal - impulse).max()))
    measured("modes", modes)
    measured("errors", errors)
    assert errors[-1] < 1e-7
    np.testing.assert_allclose(np.array(errors[1:]) / errors[:-1], 0.01, rtol=0.2)
