"""Scenes of bodies on bodies (examples/scenes.py), against statics, closed forms and energy.

Hard contact: kappa 1e-11, h = 0.01 s unless said. Drift is what moves after the first second.
"""

import itertools
import sys

import numpy as np
import pytest
from paths import ROOT, SUITE, needs_suite
from scipy.optimize import linprog
from simulator import energies, simulate

sys.path.append(str(ROOT / "examples"))
import gripper
import scenes

pytestmark = pytest.mark.usefixtures("optimized")
H, G = scenes.TIMESTEP, scenes.GRAVITY


def simulated(scene, steps, h=H):
    """Model, states and reports of a scene; every step is solved, no pair is left out."""
    model = scene.load(h)
    us = scene.controls(steps)
    states, infos = simulate(model, scene.start(model), steps, scenes.KAPPA, us=us)
    assert infos.converged.all()
    assert (infos.contacts.overflow == 0).all()
    return model, states, infos


def force(infos, one, two):
    """Force (3,) [N] on the geom of higher index of a pair in the last step."""
    c = infos.contacts
    here = (np.sort(c.geoms[-1], axis=1) == sorted((one, two))).all(axis=1)
    on_second = np.einsum("cij,ci->cj", c.frame[-1], c.impulse[-1])
    sign = np.where(c.geoms[-1, :, 1] == max(one, two), 1.0, -1.0)
    return (sign[:, None] * on_second)[here].sum(axis=0) / H


def carried(infos):
    """Upward force at the bottom of each box of a column [N]."""
    return np.array([force(infos, k, k + 1)[2] for k in range(scenes.BOXES)])


def weight_above(model):
    """The weight of each box of a column and all above it [N]."""
    return G * np.cumsum(np.asarray(model.link_mass)[::-1])[::-1]


@pytest.mark.slow
def test_a_tower_of_ten_boxes_stands_for_a_minute(measured):
    """Drift under a micrometre; each joint carries the weight of what is above it.

    But for the barriers of what is further off, kappa / (h gap) each: of the floor for the eight
    corners of box k, 0.2 k m away or more, and of pairs of boxes with one box between them.
    """
    model, states, infos = simulated(scenes.tower(), 6000)
    drift = scenes.drift(states, H)
    measured("drift of a tower of ten boxes in 59 s [m]", drift)
    assert drift < 1e-6
    spare = scenes.BUDGET - (scenes.BOXES - 1)
    gaps = scenes.SIDE * np.array([*range(1, scenes.BOXES), *[1] * spare])
    from_afar = (8 * scenes.KAPPA / H / gaps).sum()
    error = np.abs(carried(infos) - weight_above(model)).max()
    measured("error of the weight that a joint carries, and barriers [N]", [error, from_afar])
    assert error < from_afar


@pytest.mark.parametrize("masses", [(1.0, 1000.0), (1000.0, 1.0)])
def test_ten_layers_light_and_heavy_in_turns_stand(masses, measured):
    """1 kg below 1000 kg, five times, and the other way round: drift, and weights as above."""
    model, states, infos = simulated(scenes.stack(*masses), 300)
    drift, share = scenes.drift(states, H), carried(infos) / weight_above(model) - 1
    measured(f"drift of ten layers of {masses} kg in turns, 2 s [m]", drift)
    measured("error of the weight that a joint carries", np.abs(share).max())
    assert drift < 1e-6
    assert np.abs(share).max() < 1e-9


def tilts(states):
    """Angles of dominoes to the vertical, (T, BOXES)."""
    x, y = np.moveaxis(states.q.reshape(-1, scenes.BOXES, 7)[..., 4:6], -1, 0)
    return np.arccos(np.clip(1 - 2 * (x * x + y * y), -1, 1))


def test_dominoes_fall_in_order_when_the_first_is_pushed(measured):
    """Each begins to fall after the one before it; the last lies flat; none is in another."""
    scene = scenes.dominoes()
    _, states, _ = simulated(scene, 300)
    tilt = tilts(states)
    begins = (tilt > np.radians(5)).argmax(axis=0)
    measured("steps in which dominoes start to fall", begins)
    assert (tilt[-1] > np.radians(45)).all()
    assert (np.diff(begins) > 0).all()
    assert tilt[-1, -1] == pytest.approx(np.pi / 2, abs=1e-6)
    depth = scenes.overlap(scene.xml, states.q)
    measured("deepest overlap of dominoes [m]", depth)
    assert depth < 1e-8


def test_no_domino_falls_without_a_push(measured):
    _, states, _ = simulated(scenes.dominoes(0.0), 300)
    drift = scenes.drift(states, H)
    measured("drift of dominoes that nobody pushes in 2 s [m]", drift)
    assert drift < 1e-6


@pytest.mark.parametrize("h", [0.01, 0.0025])
def test_a_domino_tips_from_the_rate_that_lifts_it_over_its_edge(h, measured):
    """The closed form is `scenes.tipping_rate`.

    The scheme is of first order: a velocity at the start of a step is half a step ahead of the
    forces. They slow the domino by a = (3/2) g thickness / (thickness^2 + height^2), so the rate
    that tips is h a / 2 more.
    """
    square = scenes.THICK**2 + scenes.TALL**2
    limit = 1 + h / 2 * 1.5 * G * scenes.THICK / square / scenes.tipping_rate()
    for push, falls in ((0.99 * limit, False), (1.01 * limit, True)):
        _, states, _ = simulated(scenes.dominoes(push), round(1.0 / h), h)
        most = tilts(states).max(axis=0)
        assert (most[0] > np.radians(15)) == falls
        assert (most[1:] < 1e-3).all() or falls


def arch_equilibrium(thickness, friction):
    """Whether forces within the friction cones hold the arch of `scenes.arch` up.

    Joint j = 0 ... n has the angle a to the top; at its inner and outer edge act a normal force
    n >= 0 along (cos a, -sin a) on the stone after it and |t| <= friction n along it. Forces in
    the plane and moments balance on each stone. A linear program; weights 1, mean radius 1.
    """
    n = scenes.VOUSSOIRS
    angles = np.pi / 2 * (1 - 2 * np.arange(n + 1) / n)
    radii = 1 + thickness / 2 * np.array([-1, 1])
    balance = np.zeros((n, 3, n + 1, 2, 2))  # stone, equation, joint, edge, (n, t)
    for j, a in enumerate(angles):
        along, across = np.array([-np.cos(a), np.sin(a)]), np.array([np.sin(a), np.cos(a)])
        for e, r in enumerate(radii):
            for c, way in enumerate((along, across)):
                wrench = [*way, r * (across[0] * way[1] - across[1] * way[0])]
                # From the right hand side, stone j - 1, to the left, stone j.
                if j < n:
                    balance[j, :, j, e, c] = wrench
                if j > 0:
                    balance[j - 1, :, j, e, c] = np.negative(wrench)
    middle = (angles[1:] + angles[:-1]) / 2
    centre = _centre_of_sector(thickness, np.pi / n)
    load = np.stack([0 * middle, 0 * middle + 1, centre * np.sin(middle)], axis=1)
    normal = np.kron(np.eye(2 * n + 2), [friction, 0])
    tangent = np.kron(np.eye(2 * n + 2), [0, 1])
    found = linprog(
        np.zeros(4 * n + 4),
        A_ub=np.concatenate([tangent - normal, -tangent - normal]),
        b_ub=np.zeros(4 * n + 4),
        A_eq=balance.reshape(3 * n, -1),
        b_eq=load.ravel(),
        bounds=[(0, None), (None, None)] * (2 * n + 2),
    )
    return found.status == 0


def _centre_of_sector(thickness, angle):
    """How far from the centre the centroid of a stone with straight sides lies, mean radius 1."""
    inner, outer = 1 - thickness / 2, 1 + thickness / 2
    return 2 / 3 * np.cos(angle / 2) * (outer**3 - inner**3) / (outer**2 - inner**2)


def least_friction(thickness):
    """The friction [1] below which no forces hold the arch, by bisection."""
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if arch_equilibrium(thickness, middle) else (middle, high)
    return high


@pytest.mark.slow
def test_an_arch_stands(measured):
    """Drift under a micrometre; each foot carries half; the outward thrust is the same all over."""
    model, states, infos = simulated(scenes.arch(), 500)
    drift = scenes.drift(states, H)
    measured("drift of an arch of nine stones in 4 s [m]", drift)
    assert drift < 1e-6
    # Geoms 0 and 1 are the abutments to the right and the left, the stones follow from the right.
    stones = [*range(2, 2 + scenes.VOUSSOIRS)]
    ends = force(infos, 0, stones[0]), force(infos, 1, stones[-1])
    weight = G * float(np.sum(model.link_mass))
    assert ends[0] + ends[1] == pytest.approx([0, 0, weight], abs=1e-6 * weight)
    assert ends[0][2] == pytest.approx(weight / 2, rel=1e-6)
    joints = [force(infos, a, b)[0] for a, b in itertools.pairwise(stones)]
    assert joints == pytest.approx([ends[0][0]] * len(joints), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "falls"), [(1.01, False), (0.99, True)])
def test_an_arch_falls_where_friction_cannot_hold_it(share, falls, measured):
    """By limit analysis no forces can below 0.309, see `arch_equilibrium`; 1 % to both sides."""
    least = least_friction(0.2)
    _, states, _ = simulated(scenes.arch(friction=share * least), 200)
    sunk = scenes.RADIUS - states.q.reshape(-1, scenes.VOUSSOIRS, 7)[:, scenes.VOUSSOIRS // 2, 2]
    measured(f"sinking of the keystone at {share} of the friction {least} in 2 s [m]", sunk[-1])
    if falls:
        assert sunk[-1] > scenes.RADIUS
    else:
        assert scenes.drift(states, H) < 1e-6


def test_a_ball_comes_to_rest_at_the_bottom_of_a_bowl(measured):
    """It touches all plates at radius / cos(slope) over the tip. Energy never rises.

    But by the barriers' kappa / h each, and what a double of the energy is exact to.
    """
    model, states, _ = simulated(scenes.bowl(), 1000)
    height = scenes.BALL / np.cos(np.radians(scenes.SLOPE))
    measured("where the ball in the bowl rests [m]", states.q[-1, :3] - [0, 0, height])
    assert states.q[-1, :3] == pytest.approx([0, 0, height], abs=1e-8)
    assert np.abs(states.v[-1]).max() < 1e-9
    energy = np.asarray(energies(model, states))
    rise = np.diff(energy).max()
    measured("largest rise of the energy of the ball in a step [J]", rise)
    assert rise < scenes.FACETS * scenes.KAPPA / H + 1e-14


def test_a_peg_slides_to_the_bottom_of_its_hole(measured):
    """0.5 mm clearance; never in the walls, ends standing on the floor in the hole."""
    scene = scenes.peg()
    _, states, infos = simulated(scene, 200)
    depth = scenes.overlap(scene.xml, states.q)
    measured("deepest overlap of a peg with its hole [m]", depth)
    measured("smallest gap of a peg [m]", infos.contacts.gap.min())
    assert depth < 1e-9
    assert states.q[-1, 2] == pytest.approx(scenes.LENGTH / 2, abs=1e-8)
    assert np.abs(states.q[-1, :2]).max() < scenes.CLEARANCE / 2
    assert np.abs(states.v[-1]).max() < 1e-8


def test_two_fingers_hold_a_box_for_a_minute(measured):
    """With 1.5 times m g / (2 mu) each. Slip is the creep of docs/concepts.md.

    Each of 8 points carries b = m g h / 8 with mu gamma = 1.5 b: kappa b / ((1.5 b)^2 - b^2) [m/s].
    """
    _, states, _ = simulated(scenes.grasp(), 6000)
    z = states.q[:, 4]
    slip, creep = z[99] - z[-1], scenes.KAPPA / (1.25 * scenes.HELD * G * H / 8)
    measured("slip of a box in two fingers in 59 s [m], and by the formula", [slip, 59 * creep])
    assert scenes.drift(states, H) < 1e-6
    assert slip == pytest.approx(59 * creep, rel=0.01)


@pytest.mark.parametrize("share", [0.99, 0.9, 0.5])
def test_too_weak_fingers_let_the_box_slide_as_coulomb_says(share, measured):
    """Acceleration (1 - share) g, where share is 2 mu F / (m g)."""
    _, states, _ = simulated(scenes.grasp(share), 12)
    speed = -states.v[:, 4]
    expected = (1 - share) * G * H * np.arange(1, 13)
    measured(f"speed at {share} of the force, over Coulomb's", speed[-1] / expected[-1])
    assert speed == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@needs_suite
def test_a_gripper_turns_a_box(measured):
    """The grip is along y, then along z, where it gives way to the weight.

    Fingers are held by springs of 1000 N/m, their guides rub with 1 N each. Until they stop, these
    bear what the springs do not.
    """
    model = gripper.load(SUITE / "robosuite/models/assets/grippers/panda_gripper.xml")
    us = gripper.controls(model)
    states, infos = simulate(model, gripper.start(model), len(us), gripper.KAPPA, us=us)
    assert infos.converged.all()
    done = gripper.turn(model, states)
    assert done.wrist[-1] == pytest.approx(np.pi / 2, abs=1e-4)
    slip = np.abs(done.angle - done.wrist).max()
    measured("slip of a box that a Panda gripper turns by 90 degrees [rad]", slip)
    assert slip < 1e-4
    measured(
        "slip along its fingers, of it in the last half second [m]",
        [float(done.along.max()), float(np.ptp(done.along[-50:]))],
    )
    assert done.along.max() < 1e-4
    assert np.ptp(done.along[-50:]) < 1e-6
    fingers = [model.topology.joint_names.index(name) for name in gripper.FINGERS]
    weight = G * (gripper.HELD + float(np.asarray(model.link_mass)[fingers].sum()))
    share = float(-done.place[-1, 2]) / ((weight - 2.0) / 2000)
    measured("how far the grip gives way, over what springs and friction tell", share)
    assert share == pytest.approx(1.0, rel=1e-2)


@pytest.mark.slow
def test_bodies_of_every_kind_are_poured_on_a_floor(measured):
    """Twelve, two of each kind; `python examples/scenes.py pour` takes a hundred."""
    scene = scenes.pour(12)
    _, states, _ = simulated(scene, 160, scene.timestep)
    overlap = scenes.overlap(scene.xml, states.q[::2])
    measured("deepest overlap of twelve poured bodies, by MuJoCo [m]", overlap)
    assert overlap < 1e-3
    height = np.asarray(states.q).reshape(len(states.q), -1, 7)[-1, :, 2]
    assert (height > 0.02).all()
    assert (height < 0.3).all()
