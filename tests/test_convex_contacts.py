"""Collision of any two convex geoms: gaps and normals, and the derivatives of steps with them."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from compilation import optimizations
from jacobians import Steps
from scipy.spatial.transform import Rotation

import dojo
from dojo.model.topology import contact_geoms
from dojo.physics import collision
from dojo.physics.kinematics import displace, link_frames, local_maps


def points(seed, count, radius):
    """Vertices of a mesh on a sphere, as MJCF writes them."""
    x = np.random.default_rng(seed).normal(size=(count, 3))
    x *= radius / np.linalg.norm(x, axis=1, keepdims=True)
    return " ".join(f"{value:.6f}" for value in x.ravel())


BRICK = " ".join(f"{x} {y} {z}" for x in (-0.1, 0.1) for y in (-0.08, 0.08) for z in (-0.05, 0.05))
ASSETS = (
    f'<asset><mesh name="rock" vertex="{points(0, 20, 0.12)}"/>'
    '<mesh name="wedge" vertex="0 0 0 .2 0 0 0 .15 0 .2 .15 0 0 0 .1 0 .15 .1"/>'
    f'<mesh name="brick" vertex="{BRICK}"/></asset>'
)
GEOMS = {
    "sphere": 'type="sphere" size=".11"',
    "egg": 'type="ellipsoid" size=".1 .14 .06"',
    "bean": 'type="ellipsoid" size=".03 .05 .2"',
    "rod": 'type="capsule" size=".07 .15"',
    "can": 'type="cylinder" size=".09 .14"',
    "box": 'type="box" size=".12 .2 .07"',
    "rock": 'type="mesh" mesh="rock"',
    "wedge": 'type="mesh" mesh="wedge"',
}
NAMES = tuple(GEOMS)
ROUND, CLOSED = {"sphere", "egg", "bean"}, {"sphere", "rod", "box"}


# Others have closed forms (test_body_contacts).
PAIRS = tuple(pair for pair in itertools.combinations(NAMES, 2) if not set(pair) <= CLOSED)
SHAPE = "geom_size", "mesh_vertices", "geom_pos"
ROUND_PAIRS = tuple(pair for pair in PAIRS if set(pair) & ROUND)
POSES = 300


def scene(order=NAMES):
    bodies = "".join(
        f'<body name="{n}"><freejoint/><geom name="{n}" {GEOMS[n]}/></body>' for n in order
    )
    return f"<mujoco>{ASSETS}<worldbody>{bodies}</worldbody></mujoco>"


@pytest.fixture(scope="module")
def poses():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(POSES, len(NAMES), 7))
    q[..., :3] *= 0.17
    q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)
    return q


@pytest.fixture(scope="module")
def moves():
    """A move of every body, up to about 1 cm and 0.1 rad."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(POSES, len(NAMES), 6)) * np.repeat([0.005, 0.05], 3)


class Nearest(NamedTuple):
    """Of a pair: the smallest gaps in all `CASES`, and the normal of the first."""

    gap: np.ndarray  # (POSES,)
    normal: np.ndarray  # (POSES, 3)
    kept: np.ndarray  # (POSES,)
    fresh: np.ndarray  # (POSES,)


# Before a move, after it by what was settled before, and settled anew. Columns: where features are
# settled, where that step is to lead, where they touch; 0 the start, 1 the end of the move.
CASES = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 1]])


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, 0))
def touched(model, q, dq):
    """Gaps in all `CASES` (3, candidates), and the normals in the first."""
    ends = jnp.stack([q, displace(model, q, dq)])
    frames = jax.vmap(lambda q: link_frames(model, local_maps(model), q))(ends)
    still = collision.candidates(model)

    def touch(now, ahead, at):
        return collision.touch(model, collision.anchored(model, still, now, ahead), at)

    found = jax.vmap(touch)(*(jax.tree.map(lambda x, k=k: x[k], frames) for k in CASES.T))
    return found.gap, found.normal[0]


def nearest_of(poses, moves, order):
    """The nearest candidate of each pair; its normal from the first name on."""
    model = dojo.load(scene(order), contact_budget=1000)
    places = [NAMES.index(n) for n in order]
    with optimizations():
        gaps, normal = touched(model, *(x[:, places].reshape(POSES, -1) for x in (poses, moves)))
    gaps, normal = np.asarray(gaps), np.asarray(normal)
    geoms, names = contact_geoms(model.topology), model.topology.geom_names
    nearest = {}
    for pair in PAIRS:
        rows = [k for k, (a, b) in enumerate(geoms) if {names[a], names[b]} == set(pair)]
        before, kept, fresh = (gaps[:, k, rows] for k in range(3))
        best = np.array(rows)[before.argmin(axis=1)]
        sign = np.where(np.array([names[geoms[k, 0]] for k in best]) == pair[0], 1.0, -1.0)
        normals = sign[:, None] * normal[np.arange(POSES), :, best]
        nearest[pair] = Nearest(before.min(axis=1), normals, kept.min(axis=1), fresh.min(axis=1))
    return nearest


@pytest.fixture(scope="module")
def nearest(poses, moves):
    return nearest_of(poses, moves, NAMES)


@pytest.fixture(scope="module")
def simulated(poses):
    """MuJoCo's model and data at each pose."""
    m = mujoco.MjModel.from_xml_string(scene())
    m.opt.ccd_tolerance, m.opt.ccd_iterations = 1e-12, 200
    every = []
    for q in poses:
        d = mujoco.MjData(m)
        d.qpos[:] = q.ravel()
        mujoco.mj_kinematics(m, d)
        every.append(d)
    return m, every


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_gaps_and_normals_are_mujocos(pair, nearest, simulated):
    m, every = simulated
    a, b = (m.geom(name).id for name in pair)
    ends = np.zeros((len(every), 6))
    expected = np.array(
        [mujoco.mj_geomDistance(m, d, a, b, 10.0, at) for d, at in zip(every, ends, strict=True)]
    )
    gap, normal = nearest[pair].gap, nearest[pair].normal
    apart = expected > 1e-4
    assert apart.sum() > 100
    # Where they overlap, at times a way out is found that is not the shortest.
    shallow = (expected < 0) & (expected > -0.02)
    assert gap[shallow].max() < 0
    assert np.mean((expected - gap)[shallow] < 1e-6) > 0.7
    off = np.abs(gap - expected)[apart]
    if pair in ROUND_PAIRS:
        assert off.max() < 1e-8
        assert (gap - expected)[shallow].max() < 1e-8
    else:
        assert off.max() < 1e-6
    way = (ends[:, 3:] - ends[:, :3])[apart] / expected[apart, None]
    assert np.median(1 - np.sum(way * normal[apart], axis=1)) < 1e-10


@pytest.mark.slow
def test_the_order_of_bodies_does_not_matter(poses, moves, nearest):
    swapped = nearest_of(poses, moves, NAMES[::-1])
    for pair in PAIRS:
        ours, theirs = nearest[pair].gap, swapped[pair].gap
        apart = ours > 1e-4
        off = np.abs(theirs - ours)[apart]
        assert off.max() < (1e-8 if pair in ROUND_PAIRS else 1e-6), pair


def test_what_ends_a_hair_beside_a_face_is_kept_off_it(poses, moves):
    """Rods that stand out over the cap of a can, their lower end just beside it.

    The plane of the cap parts them as well as anything does, but what lies over it is higher up.
    """
    rng, height = np.random.default_rng(4), 0.05
    rod, can = (NAMES.index(n) for n in ("rod", "can"))
    beside, around = 10.0 ** rng.uniform(-7, -2, POSES), rng.uniform(0, 2 * np.pi, POSES)
    out = np.stack([np.cos(around), np.sin(around)], axis=1)
    # Towards the cap, and up.
    turned = Rotation.from_euler(
        "zy", np.stack([around + rng.uniform(-1.2, 1.2, POSES), rng.uniform(-1.4, -0.2, POSES)]).T
    )
    q = np.zeros_like(poses)
    q[..., 0], q[..., 3] = 10.0 * np.arange(len(NAMES)), 1.0
    q[:, can, :3] = 0.0
    q[:, rod, 3:] = turned.as_quat(scalar_first=True)
    q[:, rod, :3] = 0.15 * turned.apply([0.0, 0.0, 1.0])
    q[:, rod, :2] += (0.09 + beside)[:, None] * out
    q[:, rod, 2] += 0.14 + 0.07 + height
    gap = nearest_of(q, moves, NAMES)["rod", "can"].gap
    np.testing.assert_allclose(gap, np.hypot(height + 0.07, beside) - 0.07, rtol=0, atol=1e-6)


def test_moving_everything_changes_no_gap(poses, moves, nearest):
    rng = np.random.default_rng(3)
    turn, shift = Rotation.random(rng=rng), rng.normal(size=3)
    flat, moved = poses.reshape(-1, 7), np.empty_like(poses).reshape(-1, 7)
    moved[:, :3] = turn.apply(flat[:, :3]) + shift
    spin = turn * Rotation.from_quat(flat[:, 3:], scalar_first=True)
    moved[:, 3:] = spin.as_quat(scalar_first=True)
    there = nearest_of(moved.reshape(poses.shape), moves, NAMES)
    for pair in PAIRS:
        apart = nearest[pair].gap > 1e-4
        assert np.abs(there[pair].gap - nearest[pair].gap)[apart].max() < 1e-9, pair
        back = turn.inv().apply(there[pair].normal)
        assert np.mean(np.abs(back - nearest[pair].normal)[apart] < 1e-6) > 0.999, pair


def test_gaps_are_exact_where_a_step_ends(nearest):
    """The features that the start settles tell the distance after a move, unless others bear."""
    for pair in PAIRS:
        begun, _, kept, fresh = nearest[pair]
        near = (begun > 1e-4) & (fresh > 1e-4) & (fresh < 0.1)
        assert near.sum() > 30
        off = np.abs(kept - fresh)[near]
        if pair not in ROUND_PAIRS:
            # A gap that is larger than it is would let them sink in: another feature of the rock,
            # with its many small faces, has come to bear in up to 0.14, of others in up to 0.06.
            assert np.mean((kept - fresh)[near] > 1e-4) < (0.2 if "rock" in pair else 0.1), pair
            assert np.mean(off < 1e-3) > 0.7, pair
            continue
        if set(pair) <= ROUND:
            assert off.max() < 1e-10, pair
        else:
            assert (off < 1e-6).mean() > 0.75, pair
            # A gap larger than it is would let them sink in.
            assert (kept - fresh)[near].max() < 3e-3, pair
        if "can" in pair:
            assert (off < 1e-6).mean() > 0.9, pair


# A floor with a fixed brick and a fixed can, and bodies that fall on them.
ONTO = f"""<mujoco><option timestep="0.01"/>{ASSETS}
<worldbody><geom type="plane" size="3 3 .1" friction=".6"/>
<geom type="mesh" mesh="brick" pos="0 0 .05"/><geom type="cylinder" size=".06 .05" pos=".2 0 .05"/>
{{}}</worldbody></mujoco>"""
FALLING = {
    "two ellipsoids and a ball": """<body pos="0 .01 .17" euler="20 0 10"><freejoint/>
  <geom type="ellipsoid" size=".05 .04 .06" mass=".5"/></body>
<body pos=".02 0 .28" euler="0 70 10"><freejoint/>
  <geom type="ellipsoid" size=".04 .06 .05" mass=".3"/></body>
<body pos=".25 0 .16"><freejoint/><geom size=".05" mass=".4"/></body>""",
    "a log, a rod and a wedge": """<body pos=".05 .01 .19" euler="20 80 10"><freejoint/>
  <geom type="cylinder" size=".05 .12" mass=".5"/></body>
<body pos=".02 0 .33" euler="10 70 40"><freejoint/>
  <geom type="capsule" size=".04 .08" mass=".3"/></body>
<body pos=".21 .01 .2" euler="40 10 0"><freejoint/>
  <geom type="mesh" mesh="wedge" mass=".4"/></body>""",
}


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param(FALLING["two ellipsoids and a ball"]),
        pytest.param(FALLING["a log, a rod and a wedge"], marks=pytest.mark.slow),
    ],
    ids=FALLING,
)
def test_jacobians_of_a_pile_agree_with_differences(bodies):
    model, lanes = dojo.load(ONTO.format(bodies)), 4
    start, steps = dojo.init(model), Steps(model)
    q, v = steps.after(*(jnp.tile(x, (lanes, 1)) for x in (start.q, start.v)), [6, 12, 20, 36])
    v = v + 0.1 * np.random.default_rng(0).normal(size=v.shape)

    info, error = steps.errors(q, v)
    assert info.converged.all()
    pairs = contact_geoms(model.topology)[:, 0] > 0
    assert (np.asarray(info.contacts.impulse)[:, pairs, 0] > 1e-2).any(axis=1).sum() > 1
    assert (error < 1e-6).all(), error


HALF = float(np.sqrt(0.5))
DEGENERATE = {
    "concentric": {},
    "over the middle of a cap": {"can": (0, 0, -0.25)},
    "exactly on a rim": {"can": (-0.09 - 0.11 * HALF, 0, -0.14 - 0.11 * HALF)},
    "on the axis of a rod": {"rod": (0, 0, 0.05)},
    "along an edge": {"box": (0.23, 0.1, 0)},
    "at a corner": {"box": (-0.12 - 0.11, -0.2, -0.07)},
}


def test_degenerate_poses_are_finite():
    """The sphere at the origin, all others there too but for those that are placed."""
    model = dojo.load(scene(), contact_budget=1000)
    q = np.zeros((len(DEGENERATE), len(NAMES), 7))
    q[..., 3] = 1.0
    for k, places in enumerate(DEGENERATE.values()):
        for name, place in places.items():
            q[k, NAMES.index(name), :3] = place
    dq = np.random.default_rng(6).normal(size=(len(q), model.nv))

    @jax.jit
    @jax.vmap
    def rates(q, dq):
        start = link_frames(model, local_maps(model), q)
        c = collision.anchored(model, collision.candidates(model), start, start)

        def at(t):
            frames = link_frames(model, local_maps(model), displace(model, q, t * dq))
            return collision.touch(model, c, frames)

        return jax.jvp(at, (0.0,), (1.0,))

    found = rates(jnp.array(q.reshape(len(q), -1)), jnp.array(dq))
    for x in jax.tree.leaves(found):
        assert np.isfinite(x).all()
    geoms, names = contact_geoms(model.topology), model.topology.geom_names
    on_rim = [k for k, (a, b) in enumerate(geoms) if {names[a], names[b]} == {"sphere", "can"}]
    gap = found[0].gap[list(DEGENERATE).index("exactly on a rim"), np.array(on_rim)]
    np.testing.assert_allclose(gap, 0.0, atol=1e-12)


def test_a_budget_keeps_the_nearest_pairs():
    eggs = "".join(
        f'<body pos="{0.21 * k} 0 0"><freejoint/><geom type="ellipsoid" size=".1 .1 .05"/></body>'
        for k in range(5)
    )
    model = dojo.load(f"<mujoco><worldbody>{eggs}</worldbody></mujoco>", contact_budget=4)

    @jax.jit
    def nearest(q):
        frames = link_frames(model, local_maps(model), q)
        c = collision.anchored(model, collision.candidates(model), frames, frames)
        return collision.contact_geoms(model, c), collision.touch(model, c, frames).gap

    geoms, gap = nearest(dojo.init(model).q)
    chosen = np.sort(np.asarray(geoms).T, axis=1)
    assert sorted(map(tuple, chosen.tolist())) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    np.testing.assert_allclose(gap, 0.01, atol=1e-12)


def test_a_budget_does_not_count_what_passes_by():
    """Plates over each other: none touch, though the spheres round them all meet."""
    plates = "".join(
        f'<body pos="0 0 {0.04 * k}"><freejoint/><geom type="box" size=".2 .2 .01"/></body>'
        for k in range(8)
    )
    xml = f"<mujoco><worldbody>{plates}</worldbody></mujoco>"
    model = dojo.load(xml, contact_budget=4)
    _, info = dojo.step(model, dojo.init(model))
    assert int(info.contacts.overflow) == 0
    assert int(info.contacts.geoms.shape[0]) < dojo.load(xml, contact_budget=28).topology.nc


@pytest.mark.slow
def test_gaps_follow_the_sizes_of_geoms():
    """Of an egg over a face, an edge and a corner of a box, and of a hull: against differences."""
    xml = """<mujoco><asset><mesh name="wedge" vertex="-.1 -.1 0  .1 -.1 0  0 .1 0  0 0 .15"/>
      </asset><worldbody><geom name="box" type="box" size=".1 .08 .06"/>
      <geom name="wedge" type="mesh" mesh="wedge" pos="1 0 0" euler="10 20 30"/>
      <body><freejoint/><geom name="egg" type="ellipsoid" size=".03 .04 .05"/></body></worldbody>
      </mujoco>"""
    model = dojo.load(xml)
    places = jnp.array(
        [
            [0.02, 0.01, 0.15],
            [0.17, 0.01, 0.12],
            [0.16, 0.14, 0.12],
            [1.0, 0.02, 0.25],
            [1.1, 0, 0.1],
        ]
    )
    turn = jnp.array([0.8, 0.3, 0.4, 0.33])
    q = jax.vmap(lambda x: jnp.concatenate([x, turn]))(places)

    def gaps(size, corners):
        changed = model.replace(geom_size=size, mesh_vertices=corners)

        def least(q):
            frames = link_frames(changed, local_maps(changed), q)
            found = collision.anchored(changed, collision.candidates(changed), frames, frames)
            return collision.touch(changed, found, frames).gap

        return jax.vmap(least)(q)

    at = model.geom_size, model.mesh_vertices
    rng, t = np.random.default_rng(0), 1e-6
    rates = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in at)
    value = jax.jit(gaps)
    _, got = jax.jit(lambda: jax.jvp(gaps, at, rates))()
    ahead, behind = (
        value(*(x + s * t * r for x, r in zip(at, rates, strict=True))) for s in (1, -1)
    )
    expected = (ahead - behind) / (2 * t)
    near = np.asarray(value(*at)) < 0.5
    assert near.sum() == 5
    assert np.abs(expected[near]).min() > 1e-3
    np.testing.assert_allclose(np.asarray(got)[near], expected[near], rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_gaps_points_and_normals_follow_every_shape(poses):
    """Of all pairs, along a change of all sizes, corners and places of geoms."""
    model = dojo.load(scene(), contact_budget=1000)
    rng, t = np.random.default_rng(7), 1e-6
    rates = {name: 0.1 * rng.normal(size=getattr(model, name).shape) for name in SHAPE}
    # Hulls are stretched and sheared: faces of more than three corners stay flat.
    rates["mesh_vertices"] = model.mesh_vertices @ (0.3 * rng.normal(size=(3, 3)))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def along(q, t):
        def at(t):
            changed = model.replace(**{n: getattr(model, n) + t * r for n, r in rates.items()})
            frames = link_frames(changed, local_maps(changed), q)
            found = collision.anchored(changed, collision.candidates(changed), frames, frames)
            return collision.touch(changed, found, frames)

        return jax.jvp(at, (t,), (jnp.ones(()),))

    q = jnp.asarray(poses[:60].reshape(60, -1))
    here, slope = along(q, 0.0)
    (ahead, _), (behind, _) = along(q, t), along(q, -t)
    near = np.asarray((here.gap > 1e-3) & (here.gap < 0.1))
    for name in ("gap", "point", "normal"):
        one, two, got = (np.asarray(getattr(x, name)) for x in (ahead, behind, slope))
        error = np.abs(got - (one - two) / (2 * t)).reshape(len(q), -1, near.shape[-1])
        # Where another feature takes over, differences jump.
        assert np.mean((error.max(axis=1) < 1e-6)[near]) > 0.999, name
    geoms = np.sort(np.asarray(contact_geoms(model.topology)), axis=1)
    for pair in itertools.combinations(range(len(NAMES)), 2):
        rows = near & (geoms == pair).all(axis=1)
        assert rows.sum() > 3, pair
        assert np.abs(np.asarray(slope.gap)[rows]).max() > 0.01, pair


FINGERS = (
    '<asset><mesh name="c" vertex="{0}"/><mesh name="d" vertex="{1}"/></asset><worldbody>'
    '<body name="a"><freejoint/><geom type="box" size=".01 .014 .008"/></body>'
    '<body name="b"><freejoint/><geom type="box" size=".01 .014 .019"/></body>'
    '<body name="c"><freejoint/><geom type="mesh" mesh="c"/></body>'
    '<body name="d"><freejoint/><geom type="mesh" mesh="d"/></body></worldbody>'
)


def corners(*half):
    signs = itertools.product((-1, 1), repeat=3)
    return " ".join(f"{s * x}" for sign in signs for s, x in zip(sign, half, strict=True))


def test_nearly_parallel_bodies_touch_about_where_they_are():
    """Lines along edges that are nearly parallel may come nearest a hundred metres away."""
    shapes = corners(0.01, 0.014, 0.008), corners(0.01, 0.014, 0.019)
    model = dojo.load(f"<mujoco>{FINGERS.format(*shapes)}</mujoco>")
    rng, count = np.random.default_rng(0), 3000
    q = np.zeros((count, 4, 7))
    q[..., :3] = rng.normal(size=(count, 4, 3)) * 0.05
    turns = 10 ** rng.uniform(-6, -0.5, (count, 4, 1)) * rng.normal(size=(count, 4, 3))
    q[..., 3:] = np.concatenate([np.ones((count, 4, 1)), turns], axis=-1)
    q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)
    moves = 10 ** rng.uniform(-5, -1, (count, 1)) * rng.normal(size=(count, 24))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def found(model, q, dq):
        maps, still = local_maps(model), collision.candidates(model)
        now, ahead = (link_frames(model, maps, x) for x in (q, displace(model, q, dq)))
        settled = collision.anchored(model, still, now, ahead)
        at, links = collision.touch(model, settled, now), collision.contact_links(model, settled)
        return at.gap, at.point, now.pos[:, links]

    gap, point, at = jax.device_get(found(model, q.reshape(count, -1), moves))
    # The body that is further away from where they touch, less what may lie between them.
    off = np.linalg.norm(point[:, :, None] - at, axis=1).max(axis=1)
    between = np.linalg.norm(at[:, :, 0] - at[:, :, 1], axis=1)
    touching = gap < 1.0
    assert touching.sum() > 10 * count
    assert (off - between)[touching].max() < 0.06
