"""Collision of two bodies: gaps, points and normals, and the derivatives of steps with them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from jacobians import Steps
from scipy.spatial import HalfspaceIntersection
from simulator import simulate

import dojo
from dojo.model.topology import contact_geoms
from dojo.physics import collision
from dojo.physics.boxes import Facets
from dojo.physics.kinematics import displace, link_frames, local_maps
from dojo.physics.pairs import IDLE

GEOMS = {
    "sphere": 'type="sphere" size=".11"',
    "marble": 'type="sphere" size=".06"',
    "rod": 'type="capsule" size=".07 .15"',
    "stick": 'type="capsule" size=".03 .2"',
    "box": 'type="box" size=".12 .2 .07"',
    "plate": 'type="box" size=".2 .15 .02"',
}
NAMES = tuple(GEOMS)
PAIRS = tuple(itertools.combinations(NAMES, 2))
ROUNDING = {"sphere": 0.11, "marble": 0.06, "rod": 0.07, "stick": 0.03}


def scene(order=NAMES):
    bodies = "".join(
        f'<body name="{n}"><freejoint/><geom name="{n}" pos=".02 0 .01" {GEOMS[n]}/></body>'
        for n in order
    )
    return f"<mujoco><worldbody>{bodies}</worldbody></mujoco>"


BATCH = 1000


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0))
def _touched(model, q):
    frames = link_frames(model, local_maps(model), q)
    return collision.touch(model, collision.candidates(model), frames)


def touched(model, qs):
    """What candidates do at each of up to BATCH configurations (k, ...), batch first."""
    qs = np.reshape(qs, (len(qs), -1))
    found = _touched(model, jnp.array(qs[np.arange(BATCH) % len(qs)]))
    return type(found)(*(np.asarray(x)[: len(qs)] for x in found))


def random_poses(count, seed, spread=0.2):
    """Configurations (count, 7 n) of free bodies about the origin."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(count, len(NAMES), 7))
    q[..., :3] *= spread
    q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)
    return q


def nearest_of(model, found):
    """The candidate of each pair of names with the smallest gap: gap (B,), midpoint, normal."""
    geoms = contact_geoms(model.topology)
    names = model.topology.geom_names
    gap, point, normal = (np.asarray(x) for x in found)
    nearest = {}
    for pair in PAIRS:
        rows = [k for k, (a, b) in enumerate(geoms) if {names[a], names[b]} == set(pair)]
        best = np.array(rows)[gap[:, rows].argmin(axis=1)]
        at = np.arange(len(gap)), slice(None), best
        # From the first name to the second.
        sign = np.where(np.array([names[geoms[k, 0]] for k in best]) == pair[0], 1.0, -1.0)
        midpoint = point[at] - 0.5 * gap[at[0], best, None] * normal[at]
        nearest[pair] = gap[at[0], best], midpoint, sign[:, None] * normal[at]
    return nearest


def mujocos(m, qs, pair):
    """Distances (B,), the points nearest to each other (B, 2, 3), and where to trust them.

    Where the axis of a capsule runs through a box, MuJoCo does not find the shortest way out.
    """
    d, points, distances, trusted = mujoco.MjData(m), np.zeros((len(qs), 6)), [], []
    for q, fromto in zip(qs, points, strict=True):
        d.qpos[:] = q
        mujoco.mj_kinematics(m, d)
        a, b = (m.geom(name).id for name in pair)
        distances.append(mujoco.mj_geomDistance(m, d, a, b, 100.0, fromto))
        trusted.append(core_distance(m, d, a, b) > 1e-3)
    return np.array(distances), points.reshape(-1, 2, 3), np.array(trusted)


def core_distance(m, d, a, b):
    """Distance of the core of a sphere or capsule from a box, by samples; huge for other pairs."""
    a, b = sorted((a, b), key=lambda g: m.geom_type[g])
    if m.geom_type[a] == m.geom_type[b] or m.geom_type[b] != mujoco.mjtGeom.mjGEOM_BOX:
        return np.inf
    along = d.geom_xmat[a].reshape(3, 3)[:, 2] * m.geom_size[a, 1]
    points = d.geom_xpos[a] + np.linspace(-1, 1, 401)[:, None] * along - d.geom_xpos[b]
    local = points @ d.geom_xmat[b].reshape(3, 3)
    return np.linalg.norm(local - np.clip(local, -m.geom_size[b], m.geom_size[b]), axis=1).min()


@pytest.fixture(scope="module")
def poses():
    return random_poses(BATCH, seed=0)


@pytest.fixture(scope="module")
def nearest(poses):
    model = dojo.load(scene())
    return nearest_of(model, touched(model, poses))


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_gaps_and_normals_are_mujocos(pair, poses, nearest):
    m = mujoco.MjModel.from_xml_string(scene())
    expected, ends, trusted = mujocos(m, poses.reshape(len(poses), -1), pair)
    gap, midpoint, normal = nearest[pair]
    # While the cores are apart; overlapping boxes have a test of their own.
    apart = trusted & (expected > -0.9 * sum(ROUNDING.get(name, 0.0) for name in pair))
    assert (expected[apart] < 0).any() or not set(pair) & set(ROUNDING)
    assert np.abs(gap - expected)[apart].max() < 1e-9
    clear = apart & (np.abs(expected) > 1e-3)
    way = (ends[:, 1] - ends[:, 0]) / expected[:, None]
    assert (np.sum(way * normal, axis=1)[clear] > 1 - 1e-7).all()
    # Where one nearest point is all there is, it is MuJoCo's.
    if "sphere" in pair or "marble" in pair:
        off = np.linalg.norm(midpoint - ends.mean(axis=1), axis=1)
        assert off[clear].max() < 1e-6


def test_overlapping_boxes_part_along_the_shortest_way():
    """The overlap of boxes that lie straight is that of their sides."""
    model = dojo.load(scene())
    q = random_poses(50, seed=1)
    q[:, :, 3:] = [1, 0, 0, 0]
    q[:, [0, 1, 2, 3], 0] = 9.0
    q[:, 4:, :3] *= 0.3
    gap, _, _ = nearest_of(model, touched(model, q))["box", "plate"]
    off = np.abs(q[:, 5, :3] - q[:, 4, :3]) - np.array([0.32, 0.35, 0.09])
    overlap = off.max(axis=1) < 0
    assert overlap.sum() > 10
    np.testing.assert_allclose(gap[overlap], off[overlap].max(axis=1), atol=1e-12)


def test_the_order_of_bodies_does_not_matter(poses, nearest):
    model = dojo.load(scene(NAMES[::-1]))
    swapped = nearest_of(model, touched(model, poses[:, ::-1]))
    for pair in PAIRS:
        ours, theirs = nearest[pair][0], swapped[pair][0]
        separate = ours > -0.9 * sum(ROUNDING.get(name, 0.0) for name in pair)
        np.testing.assert_allclose(theirs[separate], ours[separate], atol=1e-12)


def test_moving_everything_changes_no_gap(poses):
    model = dojo.load(scene())
    rng = np.random.default_rng(3)
    turn, shift = rng.normal(size=4), rng.normal(size=3)
    turn /= np.linalg.norm(turn)
    moved = poses[:200].copy()
    for q in moved.reshape(-1, 7):
        place, spin = np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(place, q[:3], turn)
        mujoco.mju_mulQuat(spin, turn, q[3:])
        q[:3], q[3:] = place + shift, spin
    before, after = touched(model, poses[:200]), touched(model, moved)
    np.testing.assert_allclose(np.sort(after.gap), np.sort(before.gap), atol=1e-12)


LANES = 40


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
def rates(model, q, near, dq):
    """For candidates of a step from q, at q + near: gaps, their rate along dq, and virtual work.

    That is the motion along the normal of the second body's point against the first body's.
    """
    maps = local_maps(model)
    start = link_frames(model, maps, q)
    c = collision.anchored(model, collision.candidates(model), start, start)

    def at(t):
        frames = link_frames(model, maps, displace(model, displace(model, q, near), t * dq))
        return collision.touch(model, c, frames).gap, frames.pose

    (gap, pose), (rate, moved) = jax.jvp(at, (0.0,), (1.0,))
    found = collision.touch(model, c, type(start)(pose))

    def velocity(link):
        local = jnp.einsum("jik,jk->ik", pose[:, :3, link], found.point - pose[:, 3, link])
        return moved[:, 3, link] + jnp.einsum("ijk,jk->ik", moved[:, :3, link], local)

    first, second = collision.contact_links(model, c)
    return gap, rate, jnp.sum(found.normal * (velocity(second) - velocity(first)), axis=0)


def test_gaps_change_by_the_motion_along_the_normal():
    model = dojo.load(scene())
    rng = np.random.default_rng(4)
    q = jnp.array(random_poses(LANES, seed=5).reshape(LANES, -1))
    near, dq = jnp.array(rng.normal(size=(2, LANES, model.nv)))
    _, rate, expected = rates(model, q, 0.05 * near, dq)
    np.testing.assert_allclose(rate, expected, atol=1e-11)


def test_boxes_out_of_reach_do_not_touch_by_turning():
    """The axis that parts two boxes turns with them; it must not sweep the gap away."""
    model = dojo.load(scene())
    rng = np.random.default_rng(8)
    off = np.array([0.6, 0.2, 0.1])
    q = np.tile(flat(box=(0, 0, 0), plate=tuple(off)), (LANES, 1))
    turn = np.zeros((LANES, len(NAMES), 6))
    turn[:, 4:, 3:] = rng.uniform(-1.7, 1.7, size=(LANES, 2, 3))
    gap, _, _ = rates(
        model,
        jnp.array(q),
        jnp.array(turn.reshape(LANES, -1)),
        jnp.zeros_like(turn.reshape(LANES, -1)),
    )
    rows = box_rows(model)
    assert (gap[:, rows] > 0.05).all()  # 0.65 m less the radii, less the geoms' own place


def test_faces_count_where_boxes_part_across_edges():
    """A plate that leans over the corner of a box may come down flat on it within the step."""
    model = dojo.load(scene())
    rng = np.random.default_rng(9)
    q = np.tile(flat(box=(0, 0, 0), plate=(0.12, 0.2, 0.1)), (LANES, 1)).reshape(LANES, -1, 7)
    q[:, 5, 4:] = 0.03 * rng.normal(size=(LANES, 3)) + [0, 0, 0.3]
    q[:, 5, 3:] /= np.linalg.norm(q[:, 5, 3:], axis=1, keepdims=True)

    @jax.jit
    @jax.vmap
    def settled(q):
        start = link_frames(model, local_maps(model), q)
        return collision.anchored(model, collision.candidates(model), start, start).bodies

    found = settled(jnp.array(q.reshape(LANES, -1)))
    (facets,) = (x.features for x in found if isinstance(x.features, Facets))
    across = (facets.axis.u1[:, :, -1, 0] != 0).any(axis=1)
    assert across.any()
    assert ((~facets.idle[across, :, 0]).sum(axis=1) >= 4).all()


def box_rows(model):
    """The candidates of the box and the plate."""
    first, second = contact_geoms(model.topology).T
    return np.flatnonzero((first >= 4) & (second >= 4))


def flat(**places):
    """A configuration of the scene: bodies far apart but for those named, unturned unless given."""
    q = np.zeros((len(NAMES), 7))
    q[:, 0], q[:, 3] = 10.0 * np.arange(len(NAMES)) + 20.0, 1.0
    for name, place in places.items():
        q[NAMES.index(name), : len(place)] = place
    return q.ravel()


HALF = float(np.sqrt(0.5))
DEGENERATE = {
    "concentric": flat(**dict.fromkeys(NAMES, (0, 0, 0))),
    "face on face": flat(box=(0, 0, 0), plate=(0, 0, 0.09)),
    "edge on edge": flat(box=(0, 0, 0), plate=(0.32, 0.35, 0.09)),
    "edges cross": flat(box=(0, 0, 0, HALF, HALF, 0, 0), plate=(0.3, 0.1, 0, HALF, 0, 0, HALF)),
    "parallel axes": flat(rod=(0, 0, 0), stick=(0.1, 0, 0)),
    "axes in line": flat(rod=(0, 0, 0), stick=(0, 0, 0.45)),
    "axes cross": flat(rod=(0, 0, 0), stick=(0, 0, 0, HALF, HALF, 0, 0)),
    "on the axis": flat(rod=(0, 0, 0), sphere=(0, 0, 0.05)),
    "on the core of a box": flat(box=(0, 0, 0), marble=(0.12, 0, 0)),
    "along an edge": flat(box=(0, 0, 0), stick=(0.15, 0.2, 0)),
}


def test_degenerate_poses_are_finite():
    model = dojo.load(scene())
    rng = np.random.default_rng(6)
    each = LANES // len(DEGENERATE)
    q = jnp.array(list(DEGENERATE.values())).repeat(each, axis=0)
    still, dq = jnp.zeros((LANES, model.nv)), jnp.array(rng.normal(size=(LANES, model.nv)))
    gap, rate, work = (
        np.asarray(x).reshape(len(DEGENERATE), each, -1) for x in rates(model, q, still, dq)
    )
    for k, name in enumerate(DEGENERATE):
        assert np.isfinite(gap[k]).all(), name
        assert np.isfinite(rate[k]).all(), name
        assert np.isfinite(work[k]).all(), name
    least = dict(zip(DEGENERATE, gap.min(axis=(1, 2)), strict=True))
    assert least["face on face"] == pytest.approx(0, abs=1e-12)
    assert least["edge on edge"] == pytest.approx(0, abs=1e-12)
    assert least["parallel axes"] == pytest.approx(0, abs=1e-12)
    assert least["axes cross"] == pytest.approx(-0.1, abs=1e-12)


def test_boxes_touch_at_the_corners_of_what_they_both_cover():
    model = dojo.load(scene())
    rows = box_rows(model)
    assert len(rows) == 8

    def corners(**places):
        gap, point, _ = touched(model, flat(**places)[None])
        there = gap[0, rows] < 0.5 * IDLE
        return point[0][:, rows[there]].T

    def rectangle(low, high):
        """The corners, as the geoms' place (0.02, 0) in their bodies moves them."""
        return np.array([(0.02 + x, y) for x in (low, high) for y in (-0.15, 0.15)])

    def same(points, others):
        off = np.linalg.norm(points[:, None, :2] - others[None], axis=-1)
        return max(off.min(axis=0).max(), off.min(axis=1).max()) < 1e-9

    # All of the plate's 0.4 x 0.3 over the box's 0.24 x 0.4; then overhanging.
    assert same(corners(box=(0, 0, 0), plate=(0, 0, 0.09)), rectangle(-0.12, 0.12))
    assert same(corners(box=(0, 0, 0), plate=(0.2, 0, 0.09)), rectangle(0.0, 0.12))
    # Turned by 30 degrees about a corner of the other.
    angle = np.radians(30)
    spin = (np.cos(angle / 2), 0, 0, np.sin(angle / 2))
    turned = corners(box=(0, 0, 0), plate=(0.12, 0.2, 0.09, *spin))
    c, s = np.cos(angle), np.sin(angle)
    middle = np.array([0.12 + 0.02 * c, 0.2 + 0.02 * s])
    sides = []
    for axis, half, at in [
        ((1, 0), 0.12, (0.02, 0)),
        ((0, 1), 0.2, (0.02, 0)),
        ((c, s), 0.2, middle),
        ((-s, c), 0.15, middle),
    ]:
        sides += [
            [sign * axis[0], sign * axis[1], -sign * np.dot(axis, at) - half] for sign in (1, -1)
        ]
    polygon = HalfspaceIntersection(np.array(sides), np.array([0.1, 0.15])).intersections
    assert same(turned, polygon)


PILE = """<mujoco><option timestep="0.01"/>
<worldbody><geom type="plane" size="3 3 .1" friction=".6"/>
<geom type="box" size=".2 .2 .05" pos="0 0 .05" euler="0 0 20"/>
<geom name="bump" size=".07" pos="-.19 0 .17"/>
<body pos="0 0 .17"><freejoint/><geom type="box" size=".1 .08 .06" mass="1"/>
  <body pos=".1 0 0.08"><joint axis="0 1 0"/>
    <geom type="capsule" size=".03" fromto="0 0 0 .2 0 .05" mass=".3" friction=".5"/></body></body>
<body pos="0.15 0.15 .2" euler="20 10 5"><freejoint/><geom type="box" size=".07 .06 .05" mass=".5"/>
  </body>
<body pos="0.15 0.05 .33" euler="80 10 5"><freejoint/><geom type="capsule" size=".04 .1" mass=".5"/>
  </body>
<body pos="-0.02 0 .31"><freejoint/><geom size=".07" mass=".2" friction=".3"/></body>
</worldbody></mujoco>"""


@pytest.mark.slow
def test_jacobians_of_a_pile_agree_with_differences():
    model, lanes = dojo.load(PILE), 6
    rng = np.random.default_rng(0)
    q = np.asarray(dojo.init(model).q) + 0.01 * rng.normal(size=(lanes, model.nq))
    q = jax.vmap(lambda q: dojo.init(model, q=q).q)(jnp.array(q))
    v = jnp.array(0.5 * rng.normal(size=(lanes, model.nv)))

    info, error = Steps(model).errors(q, v)
    assert info.converged.all()
    pairs = contact_geoms(model.topology)[:, 0] > 0
    impulse = np.asarray(info.contacts.impulse)[..., 0]
    assert (impulse[:, pairs] > 1e-2).any(axis=1).all()
    # A fixed ball that is the first geom, and the second one of which the point moves.
    bump = model.topology.geom_names.index("bump")
    assert impulse[:, (contact_geoms(model.topology) == bump).any(axis=1)].max() > 1e-2
    assert (error < 1e-6).all(), error


@pytest.mark.slow
def test_a_budget_keeps_the_nearest_pairs_and_tells_of_others():
    """A row of twelve balls on the floor, the first one rolls into it."""
    neighbours = 11

    def after(budget, spacing):
        balls = "".join(
            f'<body pos="{spacing * k} 0 .1"><freejoint/><geom size=".1"/></body>'
            for k in range(12)
        )
        xml = f'<mujoco><worldbody><geom type="plane" size="1 1 1"/>{balls}</worldbody></mujoco>'
        model = dojo.load(xml, contact_budget=budget)
        state = dojo.init(model, v=np.eye(model.nv)[0])
        states, infos = simulate(model, state, 20, kappa=1e-10)
        return states.q, infos.contacts, infos.converged.all()

    q, contacts, converged = after(66, 0.2001)
    assert converged
    assert contacts.overflow.max() == 0
    assert contacts.impulse.shape[1] == 12 + 66
    assert contacts.impulse[:, 12:, 0].max() > 0.1, "the balls collide"
    chosen, budgeted, converged = after(neighbours + 3, 0.2001)
    assert converged
    assert budgeted.impulse.shape[1] == 12 + neighbours + 3
    np.testing.assert_allclose(chosen, q, atol=1e-8)
    _, short, _ = after(neighbours - 4, 0.199)
    assert short.overflow[0] == 4


def test_jacobians_and_substeps_with_a_budget():
    """A budget that leaves out nothing near changes next to nothing; all of them are reported."""
    balls = "".join(
        f'<body pos="{0.21 * k} 0 .1"><freejoint/><geom size=".1"/></body>' for k in range(5)
    )
    xml = f'<mujoco><worldbody><geom type="plane" size="1 1 1"/>{balls}</worldbody></mujoco>'

    def linearized(budget):
        model = dojo.load(xml, timestep=0.02, contact_budget=budget)
        state = dojo.init(model, v=np.eye(model.nv)[0])
        options = dojo.SolverOptions(kappa=1e-8, substeps=2)
        _, info, jacobians = jax.jit(dojo.step_and_linearize)(model, state, options=options)
        assert info.converged
        return info.contacts, jacobians[0]

    contacts, a = linearized(None)
    budgeted, a_budgeted = linearized(4)
    assert contacts.impulse.shape == (5 + 10, 3)
    assert budgeted.impulse.shape == (5 + 4, 3)
    np.testing.assert_allclose(a_budgeted, a, atol=1e-5 * np.abs(a).max())
    # Neighbours: two of the geoms 1 to 5, one after the other.
    pairs = np.sort(np.asarray(budgeted.geoms)[5:], axis=1)
    assert sorted(map(tuple, pairs.tolist())) == [(1, 2), (2, 3), (3, 4), (4, 5)]
