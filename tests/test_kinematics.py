"""Kinematics, inertia, bias force and gaps against MuJoCo, at random stirred states."""

import json
from typing import get_args

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from paths import MODELS, SUITE, needs_suite

import dojo
from dojo.loaders.hulls import MOST_CORNERS
from dojo.model.topology import GeomKind
from dojo.physics import collision, rims
from dojo.physics.kinematics import difference, displace, link_frames, local_maps

STATES = 3
# Codegen dominates these tests; the arithmetic is the same without the optimizer.
FAST_COMPILE = {"xla_backend_optimization_level": 0}


def _everything(model, q, v):
    body = dojo.forward_kinematics(model, q)
    geom = dojo.geom_poses(model, q)
    bias = dojo.bias_force(model, dojo.State(q, v))
    return body, geom, dojo.mass_matrix(model, q), bias


everything = jax.jit(_everything, compiler_options=FAST_COMPILE)


def suite_paths():
    manifest = SUITE / "manifest.json"
    return [entry["path"] for entry in json.loads(manifest.read_text())] if SUITE.is_dir() else []


# The only reason not to compare: there is nothing to compare.
IMMOBILE = {"pybullet_data/cube.urdf": "one link welded to the world: no joints"}

SUITE_CASES = [
    pytest.param(path, marks=pytest.mark.skip(reason=IMMOBILE[path])) if path in IMMOBILE else path
    for path in suite_paths()
] or [pytest.param("none", marks=needs_suite)]


def stir(m, rng):
    """MuJoCo's data at a random configuration and velocity, contacts and limits off."""
    m.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    # MuJoCo snaps geoms within 1e-6 of an inertial frame to it; we compare with the exact pose.
    m.geom_sameframe[:] = 0
    d = mujoco.MjData(m)
    mujoco.mj_integratePos(m, d.qpos, rng.normal(size=m.nv), 1.0)
    d.qvel[:] = rng.normal(size=m.nv)
    mujoco.mj_forward(m, d)
    return d


def full_mass_matrix(m, d):
    dense = np.zeros((m.nv, m.nv))
    if "d:" in mujoco.mj_fullM.__doc__.splitlines()[0]:
        mujoco.mj_fullM(m, d, dense)
    else:  # before MuJoCo 4
        mujoco.mj_fullM(m, dense, d.qM)
    return dense


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.max(np.abs(ours - theirs), initial=0.0) / max(np.max(np.abs(theirs), initial=0.0), 1)


def unfused(path):
    """MuJoCo's model with every link of a URDF, as ours: the order of its geoms is another one."""
    if path.suffix != ".urdf":
        return mujoco.MjModel.from_xml_path(str(path))
    spec = mujoco.MjSpec.from_file(str(path))
    spec.compiler.fusestatic = False
    return spec.compile()


def geom_frames(m, q):
    """Of the geoms that we read, those of MuJoCo's model: positions and rotations."""
    m.geom_sameframe[:] = 0  # exact, as in `stir`
    d = mujoco.MjData(m)
    d.qpos[:] = q
    mujoco.mj_kinematics(m, d)
    supported = [getattr(mujoco.mjtGeom, f"mjGEOM_{k.upper()}").value for k in get_args(GeomKind)]
    read = np.isin(m.geom_type, supported)
    return d.geom_xpos[read], d.geom_xmat[read].reshape(-1, 3, 3)


def compare(path):
    m = mujoco.MjModel.from_xml_path(str(path))
    links = unfused(path)
    # MuJoCo welds the root of a URDF to the world.
    root = "fixed" if path.suffix == ".urdf" else None
    model = dojo.load(path, ignore="all", root=root)
    assert (model.nq, model.nv) == (m.nq, m.nv)
    moving = np.flatnonzero(m.body_jntnum > 0)
    own_link = (m.body_jntadr + m.body_jntnum - 1)[moving]
    rng = np.random.default_rng(0)
    for _ in range(STATES):
        d = stir(m, rng)
        body, geom, mass, bias = everything(model, jnp.array(d.qpos), jnp.array(d.qvel))
        expected_mass = full_mass_matrix(m, d)
        geom_pos, geom_rot = geom_frames(links, d.qpos)
        checks = {
            "body position": (body.pos[own_link], d.xpos[moving]),
            "body rotation": (body.rot[own_link], d.xmat[moving].reshape(-1, 3, 3)),
            "geom position": (geom.pos, geom_pos),
            "geom rotation": (geom.rot, geom_rot),
        }
        for name, (ours, theirs) in checks.items():
            assert relative_error(ours, theirs) < 1e-10, name
        # Relative to the largest entry, however small the robot; where all vanish, to rounding.
        for ours, theirs in ((mass, expected_mass), (bias, d.qfrc_bias)):
            assert np.abs(ours - theirs).max() <= 1e-10 * np.abs(theirs).max() + 1e-15


@pytest.mark.parametrize("path", sorted(MODELS.iterdir()), ids=lambda path: path.name)
def test_own_models_match_mujoco(path):
    compare(path)


@needs_suite
@pytest.mark.parametrize("path", SUITE_CASES)
def test_third_party_models_match_mujoco(path):
    compare(SUITE / path)


JOINTS = """
<mujoco><option><flag contact="disable"/></option><worldbody>
  <body name="a"><joint name="s" type="slide" axis="1 2 3"/>
    <joint name="h" axis="0 1 0" pos=".1 0 .2"/>
    <geom size=".1" pos=".1 .2 .3"/>
    <body name="b" pos=".3 0 0" euler="10 20 30"><joint name="ball" type="ball" pos="0 .1 0"/>
      <geom type="box" size=".1 .2 .3"/>
      <body name="c" pos="0 .4 0"><joint name="h2" ref="30"/><geom size=".1" pos="0 0 .4"/></body>
    </body></body>
  <body name="free"><freejoint/><geom type="box" size=".1 .1 .2"/></body>
</worldbody></mujoco>"""


@pytest.fixture(scope="module")
def joints():
    """Every joint kind, free and ball not first: model, MuJoCo's, a stirred q."""
    m = mujoco.MjModel.from_xml_string(JOINTS)
    return dojo.load(JOINTS), m, stir(m, np.random.default_rng(1)).qpos.copy()


# The last is half a turn less 0.1 rad: the logarithm near its branch.
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 1e-4, 1e-2, 1.0, np.pi - 0.1])
def test_displace_and_difference_are_mujocos(joints, size):
    model, m, q = joints
    dq = np.random.default_rng(2).normal(size=m.nv)
    for start in (*range(2, 5), 6, 9):  # ball at 2, then h2, free place, free spin
        dq[start : start + 3] /= np.linalg.norm(dq[start : start + 3])
    dq = size * dq
    expected = q.copy()
    mujoco.mj_integratePos(m, expected, dq, 1.0)
    moved = displace(model, jnp.array(q), jnp.array(dq))
    np.testing.assert_allclose(moved, expected, atol=1e-14)

    back = np.zeros(m.nv)
    mujoco.mj_differentiatePos(m, back, 1.0, q, expected)
    ours = difference(model, jnp.array(q), jnp.array(expected))
    # MuJoCo, too, reads a small angle off the quaternion, to rounding.
    np.testing.assert_allclose(ours, back, atol=1e-13)
    np.testing.assert_allclose(ours, dq, atol=1e-13)


def test_difference_takes_the_short_way_for_either_sign_of_the_quaternion(joints):
    model, m, q = joints
    q_to = q.copy()
    mujoco.mj_integratePos(m, q_to, np.full(m.nv, 0.3), 1.0)
    flipped = q_to.copy()
    flipped[2:6] *= -1
    flipped[-4:] *= -1
    a = difference(model, jnp.array(q), jnp.array(q_to))
    b = difference(model, jnp.array(q), jnp.array(flipped))
    np.testing.assert_allclose(a, b, atol=1e-14)


def test_a_quaternion_that_is_not_unit_is_normalized(joints):
    model, _, q = joints
    longer = q.copy()
    longer[2:6] *= 3.0
    longer[-4:] *= 0.2
    v = jnp.ones(model.nv)
    ours, expected = (everything(model, jnp.array(x), v) for x in (longer, q))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


GEOM_SIZES = {
    "sphere": ".1",
    "capsule": ".05 .2",
    "box": ".1 .2 .3",
    "ellipsoid": ".1 .2 .3",
    "cylinder": ".15 .3",
}
PLANES = {
    "floor": "",
    "raised": 'pos=".3 -.2 .4"',
    "tilted": 'pos="0 .1 -.2" euler="25 -40 10"',
    "upside_down": 'pos="0 0 3" euler="180 0 0"',
}
CYLINDER_RADIUS = 0.15
POSES = 40


def _gap_scene():
    rng = np.random.default_rng(3)
    shell = rng.normal(size=(MOST_CORNERS, 3))
    shell *= 0.2 / np.linalg.norm(shell, axis=1, keepdims=True)
    corners = " ".join(f"{x:.17g}" for x in shell.ravel())
    planes = "".join(
        f'<geom name="{n}" type="plane" size="0 0 1" contype="0" {more}/>'
        for n, more in PLANES.items()
    )
    geoms = [f'name="{k}" type="{k}" size="{s}"' for k, s in GEOM_SIZES.items()]
    geoms += ['name="tetrahedron" type="mesh" mesh="four"', 'name="shell" type="mesh" mesh="many"']
    bodies = "".join(
        f'<body><freejoint/><geom {g} conaffinity="0" pos=".1 .05 -.1" euler="10 20 30"/></body>'
        for g in geoms
    )
    return f"""<mujoco><asset>
      <mesh name="four" vertex="0 0 0  .4 0 0  0 .2 0  0 0 .3"/>
      <mesh name="many" vertex="{corners}"/></asset>
      <worldbody>{planes}{bodies}</worldbody></mujoco>"""


@pytest.fixture(scope="module")
def gap_scene():
    """Every convex geom against every plane: model, MuJoCo's, and a function q -> gaps (nc,)."""
    xml = _gap_scene()
    model = dojo.load(xml)

    def gaps(q):
        frames = link_frames(model, local_maps(model), q)
        return collision.touch(model, collision.candidates(model), frames).gap

    return model, mujoco.MjModel.from_xml_string(xml), jax.jit(jax.vmap(gaps))


def _pair_gaps(model, gap):
    """The smallest gap of each (plane, geom): {(names): (poses,)}."""
    names = model.topology.geom_names
    rows = {}
    start = 0
    for group in model.topology.contacts:
        for k, (plane, geom) in enumerate(zip(group.first, group.second, strict=True)):
            rows.setdefault((names[plane], names[geom]), []).append(start + k)
        start += len(group)
    return {pair: np.asarray(gap)[:, row].min(axis=1) for pair, row in rows.items()}


def _distances(m, q):
    """MuJoCo's distances at each configuration."""
    d, fromto = mujoco.MjData(m), np.zeros(6)
    geoms = [m.geom(g).name for g in range(m.ngeom)]
    found = {(p, g): [] for p in PLANES for g in geoms if g not in PLANES}
    for pose in q:
        d.qpos[:] = pose
        mujoco.mj_kinematics(m, d)
        for (plane, geom), values in found.items():
            pair = m.geom(plane).id, m.geom(geom).id
            values.append(mujoco.mj_geomDistance(m, d, *pair, 100.0, fromto))
    return {pair: np.array(values) for pair, values in found.items()}


def _random_poses(m, rng, spread):
    q = np.zeros((POSES, m.nq))
    for pose in q:
        pose[:] = m.qpos0
        dq = rng.normal(size=m.nv)
        dq.reshape(-1, 6)[:, 3:] *= spread
        mujoco.mj_integratePos(m, pose, dq, 1.0)
    return q


def test_every_plane_and_convex_geom_is_a_pair(gap_scene):
    model, m, gaps = gap_scene
    pairs = _pair_gaps(model, gaps(jnp.array(m.qpos0)[None]))
    assert set(pairs) == set(_distances(m, []))
    assert len(pairs) == len(PLANES) * (len(GEOM_SIZES) + 2)


@pytest.mark.parametrize("spread", [0.01, 3.0], ids=["small turns", "any orientation"])
def test_gaps_are_mujocos_distances(gap_scene, spread):
    model, m, gaps = gap_scene
    q = _random_poses(m, np.random.default_rng(4), spread)
    ours, theirs = _pair_gaps(model, gaps(jnp.array(q))), _distances(m, q)
    for (plane, geom), expected in theirs.items():
        tolerance = 1e-3 * CYLINDER_RADIUS if geom == "cylinder" else 1e-9
        error = np.abs(ours[plane, geom] - expected).max()
        assert error < tolerance, (plane, geom, error)
        assert (expected < 0).any() or plane != "raised", "penetration is part of the comparison"


def test_a_cylinder_that_almost_stands_is_blunt_by_less_than_a_thousandth():
    xml = f"""<mujoco><worldbody><geom name="floor" type="plane" size="0 0 1"/>
      <body pos="0 0 1"><freejoint/><geom name="can" type="cylinder" size="{CYLINDER_RADIUS} .3"/>
      </body></worldbody></mujoco>"""
    model = dojo.load(xml)
    azimuth = np.linspace(0, 2 * np.pi, 33)
    tilt = np.linspace(0.0, 0.02, 41)[1:]
    angle, lean = (x.ravel() for x in np.meshgrid(azimuth, tilt))
    axis = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    quat = np.concatenate([np.cos(lean / 2)[:, None], np.sin(lean / 2)[:, None] * axis], axis=1)
    q = np.concatenate([np.tile([0.0, 0.0, 1.0], (len(quat), 1)), quat], axis=1)

    def gaps(q):
        frames = link_frames(model, local_maps(model), q)
        return collision.touch(model, collision.candidates(model), frames).gap.min()

    # The lowest point of a tilted cylinder: 1 - L cos(tilt) - R sin(tilt).
    exact = 1.0 - 0.3 * np.cos(lean) - CYLINDER_RADIUS * np.sin(lean)
    above = np.asarray(jax.jit(jax.vmap(gaps))(jnp.array(q))) - exact
    assert above.max() < 1e-3 * CYLINDER_RADIUS
    assert above.min() > -1e-12  # never felt before it touches
    beyond = lean > rims.BLUNT
    assert np.abs(above[beyond]).max() < 1e-12


def test_the_touching_point_is_the_derivative_of_the_gap(gap_scene):
    """Virtual work: moving the touching point with its link changes the gap by n . its motion."""
    model, m, _ = gap_scene
    q = jnp.array(_random_poses(m, np.random.default_rng(5), 3.0)[0])
    dq = jnp.array(np.random.default_rng(6).normal(size=m.nv))
    c = collision.candidates(model)

    def gap_and_material_point(t):
        frames = link_frames(model, local_maps(model), displace(model, q, t * dq))
        link = collision.contact_links(model, c)[1]
        rot, pos = frames.rot[:, :, link], frames.pos[:, link]
        at_start = link_frames(model, local_maps(model), q)
        point = collision.touch(model, c, at_start).point
        local = jnp.einsum("jik,jk->ik", at_start.rot[:, :, link], point - at_start.pos[:, link])
        carried = pos + jnp.einsum("ijk,jk->ik", rot, local)
        return collision.touch(model, c, frames).gap, carried

    _, (gap_rate, velocity) = jax.jit(
        lambda: jax.jvp(gap_and_material_point, (0.0,), (1.0,)), compiler_options=FAST_COMPILE
    )()
    expected = jnp.einsum("ik,ik->k", c.planes.normal, velocity)
    np.testing.assert_allclose(gap_rate, expected, atol=1e-12)
