"""Meshes that are not convex: as their hull, or in convex pieces."""

import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import trimesh

import dojo
from dojo.physics import collision
from dojo.physics.kinematics import link_frames, local_maps

# A channel 0.4 m wide and 0.3 m high, its walls and its floor 0.1 m thick, 0.2 m long.
PROFILE = [(0, 0), (0.4, 0), (0.4, 0.3), (0.3, 0.3), (0.3, 0.1), (0.1, 0.1), (0.1, 0.3), (0, 0.3)]
BOXES = ([(0, 0), (0, 0), (0.3, 0)], 0.0), ([(0.4, 0.1), (0.1, 0.3), (0.4, 0.3)], 0.2)
CAP = [(0, 1, 4), (0, 4, 5), (1, 2, 3), (1, 3, 4), (0, 5, 6), (0, 6, 7)]
SCENE = """<mujoco><option timestep="0.01"/><asset>
  <mesh name="channel" vertex="{vertices}" face="{faces}"/></asset><worldbody>
  <geom name="floor" type="plane" size="2 2 1"/>
  <body name="channel"><freejoint/>
    <geom name="channel" type="mesh" mesh="channel" euler="90 0 0" density="500"/></body>
  <body name="ball" pos=".2 -.1 .5"><freejoint/><geom name="ball" size=".05"/></body>
  </worldbody>{more}</mujoco>"""
PAIR = '<contact><pair geom1="channel" geom2="ball" friction=".3 .3 0 0 0"/></contact>'


def channel():
    n = len(PROFILE)
    vertices = [(x, y, z) for z in (0, 0.2) for x, y in PROFILE]
    ahead = [(i, (i + 1) % n) for i in range(n)]
    sides = [face for i, j in ahead for face in ((i, j, j + n), (i, j + n, i + n))]
    caps = [face for a, b, c in CAP for face in ((a, c, b), (a + n, b + n, c + n))]
    return trimesh.Trimesh(vertices, caps + sides)


def scene(more=""):
    mesh = channel()
    vertices, faces = (
        " ".join(f"{x:g}" for x in table.ravel()) for table in (mesh.vertices, mesh.faces)
    )
    return SCENE.format(vertices=vertices, faces=faces, more=more)


@pytest.fixture(scope="module")
def pieces():
    return dojo.load(scene(), decompose="all")


def test_the_pieces_are_geoms_of_the_same_body(pieces):
    whole = dojo.load(scene())
    names, links = pieces.topology.geom_names, pieces.topology.geom_link
    parts = [k for k, name in enumerate(names) if name.startswith("channel/")]
    assert len(parts) == 3
    assert (links[parts] == links[names.index("channel")]).all()
    for field in ("link_mass", "link_com", "link_inertia"):
        np.testing.assert_array_equal(getattr(pieces, field), getattr(whole, field))
    assert "mesh geom channel: convex pieces by CoACD: 3" in pieces.topology.notes
    hollow = [note for note in whole.topology.notes if "not convex" in note]
    assert len(hollow) == 1
    assert "50 % more volume" in hollow[0]
    assert "decompose=['channel']" in hollow[0]


def test_the_distance_is_that_of_the_mesh(pieces):
    """Balls round the channel, which is the union of three boxes."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.2, -0.2, -0.2], [0.6, 0.5, 0.4], (300, 3))
    low, high = (np.array([(*corner, z) for corner in corners]) for corners, z in BOXES)
    off = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0.0)
    distance = np.linalg.norm(off, axis=-1).min(axis=1)
    # euler="90 0 0": y of the profile is up.
    turned = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)
    quats = rng.normal(size=(len(points), 4))
    q = np.tile(pieces.q_rest, (len(points), 1))
    q[:, 7:10], q[:, 10:] = turned, quats / np.linalg.norm(quats, axis=1, keepdims=True)
    ball = pieces.topology.geom_names.index("ball")

    @jax.jit
    @jax.vmap
    def nearest(q):
        frames = link_frames(pieces, local_maps(pieces), q)
        found = collision.anchored(pieces, collision.candidates(pieces), frames, frames)
        first, second = jnp.asarray(collision.contact_geoms(pieces, found))
        floor = pieces.topology.geom_names.index("floor")
        with_ball = ((first == ball) | (second == ball)) & (first != floor)
        return jnp.min(jnp.where(with_ball, collision.touch(pieces, found, frames).gap, jnp.inf))

    off = np.asarray(nearest(jnp.asarray(q))) - (distance - 0.05)
    clear = distance > 0.06
    assert clear.sum() > 50
    # Pieces are cut to a tolerance: CoACD normalizes and remeshes.
    assert np.abs(off[clear]).max() < 2e-3


def test_a_ball_falls_into_the_channel(pieces):
    states, infos = jax.jit(dojo.rollout)(pieces, dojo.init(pieces), jnp.zeros((100, 0)))
    assert infos.converged.all()
    # On its floor; the hull's top is at 0.3 m.
    assert states.q[-1, 9] == pytest.approx(0.1 + 0.05, abs=3e-3)


def test_an_explicit_pair_is_one_of_each_piece():
    model = dojo.load(scene(more=PAIR), decompose={"channel": 0.1})
    np.testing.assert_array_equal(model.pair_friction[:, 0], [0.3, 0.3, 0.3])


def test_a_spec_stays_as_it_is():
    spec = mujoco.MjSpec.from_string(scene())
    model = dojo.load(spec, decompose="all")
    assert "channel/0" in model.topology.geom_names
    assert [geom.name for geom in spec.geoms] == ["floor", "channel", "ball"]
    assert spec.geom("channel").contype == 1


def test_convex_meshes_stay_whole():
    box = trimesh.creation.box((0.2, 0.1, 0.1))
    vertices = " ".join(f"{x:g}" for x in box.vertices.ravel())
    xml = (
        f'<mujoco><asset><mesh name="brick" vertex="{vertices}"/></asset><worldbody>'
        '<geom type="plane" size="1 1 1"/><body><freejoint/>'
        '<geom name="brick" type="mesh" mesh="brick"/></body></worldbody></mujoco>'
    )
    assert len(dojo.load(xml, decompose="all").topology.geom_names) == 2
    assert not [note for note in dojo.load(xml).topology.notes if "hull" in note]


def test_a_urdf_and_scaled_meshes_from_files(tmp_path):
    channel().export(tmp_path / "channel.stl")
    urdf = tmp_path / "robot.urdf"
    urdf.write_text("""<robot name="channel"><link name="base"><inertial><mass value="2"/>
      <inertia ixx=".1" iyy=".1" izz=".1" ixy="0" ixz="0" iyz="0"/></inertial>
      <collision name="shell"><origin xyz=".1 0 0" rpy="1.5708 0 0"/><geometry>
      <mesh filename="channel.stl" scale="2 2 2"/></geometry></collision></link>
      <link name="arm"><inertial><mass value="1"/>
      <inertia ixx=".1" iyy=".1" izz=".1" ixy="0" ixz="0" iyz="0"/></inertial>
      <collision name="tip"><geometry><sphere radius=".1"/></geometry></collision></link>
      <joint name="lift" type="prismatic"><parent link="base"/><child link="arm"/>
      <axis xyz="0 0 1"/><limit lower="0" upper="1" effort="1" velocity="1"/></joint></robot>""")
    model = dojo.load(urdf, decompose="all", root="fixed")
    # MuJoCo drops what of a URDF does not collide: the whole mesh.
    assert model.topology.geom_names == ("shell/0", "shell/1", "shell/2", "tip")
    corners = np.asarray(model.mesh_vertices)
    assert np.ptp(corners, axis=0).max() == pytest.approx(0.8, rel=0.02)


def test_what_cannot_be_split_is_named():
    with pytest.raises(dojo.ModelError, match=r"decompose='chanel'.*mean 'channel'"):
        dojo.load(scene(), decompose="chanel")
    with pytest.raises(dojo.ModelError, match=r"'channel': 7\}\): must be within 0\.01"):
        dojo.load(scene(), decompose={"channel": 7})


def test_without_coacd_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "coacd", None)
    with pytest.raises(dojo.ModelError, match=r"pip install 'dojo-sim\[decomposition\]'"):
        dojo.load(scene(), decompose=["channel"])
