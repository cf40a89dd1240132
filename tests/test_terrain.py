"""Height fields: gaps, Jacobians, and bodies of every shape that tumble over rough ground."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import trimesh
from differences import best_richardson
from jacobians import Steps
from scipy.spatial.transform import Rotation
from simulator import energies, momenta

import dojo
from dojo.physics import collision
from dojo.physics.kinematics import displace, integrate, link_frames, local_maps

ROWS, COLUMNS, HALF_X, HALF_Y, TOP = 12, 15, 1.4, 1.1, 0.3
SHAPES = {
    "sphere": 'type="sphere" size=".1"',
    "ellipsoid": 'type="ellipsoid" size=".1 .07 .05"',
    "capsule": 'type="capsule" size=".06 .1"',
    "cylinder": 'type="cylinder" size=".08 .07"',
    "box": 'type="box" size=".1 .08 .06"',
    "mesh": 'type="mesh" mesh="wedge"',
}
WEDGE = '<mesh name="wedge" vertex="-.1 -.1 0  .1 -.1 0  0 .1 0  0 0 .15"/>'


def hills(seed=0):
    """Heights between 0 and 1, (ROWS, COLUMNS)."""
    return np.random.default_rng(seed).uniform(size=(ROWS, COLUMNS))


def scene(heights, geoms, ground="", more=""):
    """Free bodies above a height field; they collide with nothing else."""
    numbers = " ".join(f"{x:.17g}" for x in heights[::-1].ravel())
    bodies = "".join(
        f'<body pos="{0.45 * (k % 3) - 0.45} {0.5 * (k // 3) - 0.25} .6"><freejoint/>'
        f'<geom {geom} contype="0" friction=".6"/></body>'
        for k, geom in enumerate(geoms)
    )
    return f"""<mujoco><option timestep=".01"/><asset>{WEDGE}<hfield name="hills" nrow="{ROWS}"
        ncol="{COLUMNS}" size="{HALF_X} {HALF_Y} {TOP} .1" elevation="{numbers}"/></asset>
        <worldbody><geom name="ground" type="hfield" hfield="hills" conaffinity="0" {ground}/>
        {bodies}{more}</worldbody></mujoco>"""


@pytest.fixture(scope="module")
def shapes():
    """A body of every shape above hills that are moved and turned."""
    xml = scene(hills(), SHAPES.values(), 'pos=".1 -.05 .2" euler="0 0 20"')
    return xml, dojo.load(xml, contact_budget=300)


@jax.jit
def least_gaps(model, q):
    """The least gap of each second geom in configurations q (B, nq), (B, geoms)."""

    @jax.vmap
    def least(q):
        found, frames = contacts_at(model, q)
        second = jnp.asarray(collision.contact_geoms(model, found))[1]
        gap = collision.touch(model, found, frames).gap
        mine = second == jnp.arange(1, len(model.topology.geom_kind))[:, None]
        return jnp.min(jnp.where(mine, gap, jnp.inf), axis=1)

    return least(q)


def contacts_at(model, q, v=None):
    """Candidates for a step from q, at velocity v if given, and the links' frames."""
    still = local_maps(model)
    frames = link_frames(model, still, q)
    moved = q if v is None else integrate(model, q, model.timestep * v)
    ahead = link_frames(model, still, moved)
    return collision.anchored(model, collision.candidates(model), frames, ahead), frames


def poses(model, rng, count, place):
    """Configurations with free bodies at `place(n)` (n, 3), turned any way."""
    bodies = model.nq // 7
    q = np.zeros((count, bodies, 7))
    q[..., :3] = place(count * bodies).reshape(count, bodies, 3)
    quats = rng.normal(size=(count, bodies, 4))
    q[..., 3:] = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
    return jnp.asarray(q.reshape(count, -1))


def test_the_surface_is_mujocos(shapes):
    """Heights by rays, of the triangles that are drawn and that balls are held away from."""
    (xml, model), count = shapes, 100
    m = mujoco.MjModel.from_xml_string(xml)
    m.geom_group[1:] = 1
    d, hit = mujoco.MjData(m), np.zeros(1, np.int32)
    mujoco.mj_forward(m, d)
    rng = np.random.default_rng(1)
    local = np.stack([rng.uniform(-1.3, 1.3, count), rng.uniform(-1, 1, count)], axis=1)
    turn = Rotation.from_quat(m.geom_quat[0], scalar_first=True)
    down, group = np.array([0.0, 0, -1]), (np.arange(6) == 0).astype(np.uint8)
    places = turn.apply(np.c_[local, np.full(count, 2.0)]) + m.geom_pos[0]
    rays = [mujoco.mj_ray(m, d, x, down, group, 1, 1, hit, None) for x in places]
    surface = places - np.outer(rays, -down)
    mesh = model.topology.geom_mesh[0]
    corners = turn.apply(mesh.vertices) + m.geom_pos[0]
    drawn = trimesh.Trimesh(corners, mesh.faces, process=False)
    # Rounding of the heights in MuJoCo's float32.
    assert np.abs(distances(drawn, surface)).max() < 1e-6

    centres = surface + np.c_[np.zeros((count, 2)), rng.uniform(0.05, 0.4, count)]
    expected = distances(drawn, centres)
    apart = expected > 0.1
    q = poses(model, rng, count, lambda n: np.repeat(centres, n // count, axis=0))
    gap = np.asarray(least_gaps(model, q))[:, 0]
    assert apart.sum() > 50
    near = apart & (expected < 0.15)
    assert near.sum() > 10
    assert np.abs(gap + 0.1 - expected)[near].max() < 1e-9
    assert (gap + 0.1 > expected - 1e-9)[apart].all()


def test_balls_in_the_ground_touch_as_deep_as_in_mujoco(shapes):
    (xml, model), count = shapes, 100
    m = mujoco.MjModel.from_xml_string(xml)
    d = mujoco.MjData(m)
    rng = np.random.default_rng(8)
    q = poses(model, rng, count, lambda n: rng.uniform([-0.9, -0.7, 0.35], [0.9, 0.7, 0.6], (n, 3)))
    gap, compared = np.asarray(least_gaps(model, q))[:, 0], 0
    for k in range(count):
        d.qpos[:] = q[k]
        mujoco.mj_forward(m, d)
        depths = [c.dist for c in d.contact if set(c.geom) == {0, 1}]
        if depths and min(depths) > -0.03:
            compared += 1
            assert gap[k] == pytest.approx(min(depths), abs=1e-9)
    assert compared > 5


def distances(mesh, points):
    """Distances (n,) of points from a mesh's triangles."""
    count = len(mesh.triangles)

    def nearest(x):
        found = trimesh.triangles.closest_point(mesh.triangles, np.tile(x, (count, 1)))
        return np.linalg.norm(found - x, axis=1).min()

    return np.array([nearest(x) for x in points])


def test_gaps_over_a_slope_are_those_of_a_plane(shapes):
    """Every shape in any orientation, above a height field that is flat, or a little in it."""
    model = shapes[1]
    x, y = np.linspace(-HALF_X, HALF_X, COLUMNS), np.linspace(-HALF_Y, HALF_Y, ROWS)
    rise = np.array([2.0, 1.0]) * TOP / (4 * HALF_X + 2 * HALF_Y)
    heights = TOP / 2 + rise[0] * x + rise[1] * y[:, None]
    flat = model.replace(
        hfield_heights=heights.ravel(),
        geom_pos=model.geom_pos.at[0].set(0.0),
        geom_quat=model.geom_quat.at[0].set(jnp.array([1.0, 0, 0, 0])),
    )
    normal = np.array([*-rise, 1.0]) / np.sqrt(1 + rise @ rise)
    rng = np.random.default_rng(2)

    def place(n):
        across = rng.uniform(-0.6, 0.6, (n, 2))
        return np.c_[across, across @ rise + TOP / 2 + rng.uniform(0.02, 0.25, n)]

    q = poses(model, rng, 100, place)
    got = np.asarray(least_gaps(flat, q))
    for k, kind in enumerate(SHAPES):
        pose = np.asarray(q).reshape(-1, len(SHAPES), 7)[:, k]
        local = Rotation.from_quat(pose[:, 3:], scalar_first=True).inv().apply(normal)
        expected = (pose[:, :3] - [0, 0, TOP / 2]) @ normal - support(kind, -local, model)
        near = (expected > -1e-3) & (expected < 0.1)
        assert near.sum() > 20, kind
        error = np.abs(got[:, k] - expected)[near].max()
        assert error < 1e-9, (kind, error)


def support(kind, m, model):
    """How far the shapes reach along directions (n, 3) of their frames."""
    match kind:
        case "sphere":
            return np.full(len(m), 0.1)
        case "ellipsoid":
            return np.linalg.norm(m * [0.1, 0.07, 0.05], axis=1)
        case "capsule":
            return 0.06 + 0.1 * np.abs(m[:, 2])
        case "cylinder":
            return 0.08 * np.hypot(m[:, 0], m[:, 1]) + 0.07 * np.abs(m[:, 2])
        case "box":
            return np.abs(m) @ [0.1, 0.08, 0.06]
    # The hull's corners are in the geom's frame, which is turned in the link's.
    geom = model.topology.geom_names.index("geom6")
    turn = Rotation.from_quat(np.asarray(model.geom_quat[geom]), scalar_first=True)
    corners = turn.apply(np.array(model.mesh_vertices)) + np.asarray(model.geom_pos[geom])
    return (m @ corners.T).max(axis=1)


@pytest.fixture(scope="module")
def steps():
    """A ball and a box over hills."""
    return Steps(dojo.load(scene(hills(), [SHAPES["sphere"], SHAPES["box"]]), contact_budget=14))


@pytest.fixture(scope="module")
def tumbling(steps):
    """States and infos of three ways down, (150, 3, ...): 1.5 s at kappa 1e-7."""
    v = 2 * np.random.default_rng(3).uniform(-1, 1, (3, steps.model.nv))
    return steps.simulate(jnp.tile(steps.model.q_rest, (3, 1)), v, 150, kappa=1e-7)


@pytest.mark.slow
def test_bodies_tumble_over_hills(steps, tumbling):
    states, infos = tumbling
    assert infos.converged.all()
    assert (infos.contacts.overflow == 0).all()
    assert infos.contacts.gap.min() > -1e-9
    assert depths(states).max() < 3e-4
    hit = infos.contacts.impulse[..., 0] > 1e-2
    assert set(infos.contacts.geoms[hit][:, 1]) == {1, 2}
    energy = np.stack([energies(steps.model, dojo.State(*x)) for x in lanes(states)])
    # The barriers' kappa / h each, and what a support that turns on a curved surface gives back.
    assert np.diff(energy).max() < 1e-3
    assert (energy[:, -1] < 0.7 * energy[:, 0]).all()


def depths(states):
    """How deep bodies are in the ground by MuJoCo [m], in all states."""
    m = mujoco.MjModel.from_xml_string(scene(hills(), [SHAPES["sphere"], SHAPES["box"]]))
    d, found = mujoco.MjData(m), []
    for q in states.q.reshape(-1, m.nq):
        d.qpos[:] = q
        mujoco.mj_forward(m, d)
        found.append(-min((contact.dist for contact in d.contact), default=0.0))
    return np.array(found)


def lanes(states):
    """q and v (150, ...) of each simulation."""
    return zip(*(np.moveaxis(x, 1, 0) for x in (states.q, states.v)), strict=True)


def some(states):
    """q and v of each simulation at every eighteenth step from when bodies come to the ground."""
    return [jnp.asarray(x[30::18].reshape(-1, x.shape[-1])) for x in (states.q, states.v)]


@pytest.mark.slow
def test_jacobians_agree_with_differences(steps, tumbling):
    """As they fall, as they hit and at rest, each time with another velocity."""
    states, _ = tumbling
    q, v = (jnp.asarray(x[np.array([35, 60, 149]), np.arange(3)]) for x in (states.q, states.v))
    v = v + 0.1 * np.random.default_rng(4).normal(size=v.shape)
    info, error = steps.errors(q, v, directions=2)
    assert info.converged.all()
    assert (info.contacts.overflow == 0).all()
    assert (np.asarray(info.contacts.impulse)[..., 0].max(axis=1) > 1e-2).all()
    assert (error < 1e-6).all(), error


@pytest.fixture(scope="module")
def touches(steps):
    """Gaps, points and normals as a step begins and as it ends, and their slopes by t.

    At heights + t way (lanes, ...), from q at velocity v.
    """
    model = steps.model

    @jax.jit
    @jax.vmap
    def moved(q, v, t, way):
        def at(t):
            hilly = model.replace(hfield_heights=model.hfield_heights + t * way)
            found, frames = contacts_at(hilly, q, v)
            end = integrate(model, q, model.timestep * v)
            there = link_frames(model, local_maps(model), end)
            return [collision.touch(hilly, found, pose) for pose in (frames, there)]

        return jax.jvp(at, (t,), (jnp.ones(()),))

    return moved


@pytest.mark.slow
def test_contacts_by_the_heights(steps, tumbling, touches):
    states, _ = tumbling
    q, v = some(states)
    shape = len(q), len(steps.model.hfield_heights)
    ways = np.random.default_rng(5).normal(size=shape)
    _, slopes = touches(q, v, jnp.zeros(len(q)), ways)
    # No more: at rest the least gap is 24 nm, and bodies in the ground bear on other features.
    small = 3e-9
    ends = [touches(q, v, jnp.full(len(q), t), ways)[0] for t in (small, -small)]
    for slope, one, other in zip(*map(jax.tree.leaves, (slopes, *ends)), strict=True):
        error = np.abs(slope - (one - other) / (2 * small))
        assert error.max() < 1e-6 * max(1, np.abs(slope).max())


@pytest.mark.slow
def test_what_is_chosen_is_no_matter_of_rounding(steps, tumbling, touches):
    """Contacts where the bodies are moved by about a picometre, any way."""
    states, _ = tumbling
    model, (q, v) = steps.model, some(states)
    nowhere = jnp.zeros((len(q), len(model.hfield_heights)))
    shift = jax.jit(jax.vmap(lambda q, dq: displace(model, q, dq)))
    rng = np.random.default_rng(6)
    expected, _ = touches(q, v, nowhere[:, 0], nowhere)
    for way in 1e-12 * rng.normal(size=(5, *v.shape)):
        found, _ = touches(shift(q, way), v, nowhere[:, 0], nowhere)
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert np.abs(one - other).max() < 1e-8


@pytest.fixture(scope="module")
def tray():
    """A tray with a surface of hills that flies into a ball: no gravity, nothing fixed.

    The model, its start, and a step at heights + t way with its slope by t.
    """
    ball = f'<body pos=".1 .05 .9"><freejoint/><geom {SHAPES["sphere"]} mass="1"/></body>'
    xml = scene(hills(), []).replace('<geom name="ground"', '<body name="tray"><freejoint/>'
        '<inertial pos="0 0 0" mass="2" diaginertia=".3 .4 .5"/><geom name="ground"')  # fmt: skip
    xml = xml.replace('conaffinity="0" />', f"/></body>{ball}").replace(
        "<option", '<option gravity="0 0 0"'
    )
    model = dojo.load(xml)
    v = np.zeros(12)
    v[:6] = 0.1, 0.0, 1.0, 0.3, 0.2, 0.1

    @jax.jit
    def moved(state, t, way, kappa):
        def at(t):
            hilly = model.replace(hfield_heights=model.hfield_heights + t * way)
            return dojo.step(hilly, state, options=dojo.SolverOptions(kappa=kappa))

        (after, info), (slope, _) = jax.jvp(at, (t,), (jnp.ones(()),))
        return after, info, slope

    return model, dojo.init(model, v=v), moved


@pytest.fixture(scope="module")
def flight(tray):
    """States and infos of the tray and the ball."""
    model, state, moved = tray
    way, found = jnp.zeros(len(model.hfield_heights)), []
    for _ in range(150):
        state, info, _ = moved(state, 0.0, way, 1e-8)
        found.append((state, info))
    return jax.tree.map(lambda *x: np.stack(x), *found)


def test_a_floating_height_field_keeps_momentum(tray, flight):
    model, (states, infos) = tray[0], flight
    assert infos.converged.all()
    assert infos.contacts.impulse[..., 0].max() > 0.1
    momentum = momenta(model, states)
    assert np.abs(momentum - momentum[0]).max() < 1e-10
    energy = np.asarray(energies(model, states))
    # Of second order in h, as in flight, and the barrier's kappa / h.
    assert np.diff(energy).max() < energy[0] * 0.01**2 + 1e-8 / 0.01
    assert energy[-1] < 0.9 * energy[0]


def test_a_step_by_the_heights(tray, flight):
    """The velocities after the step in which the ball is hit, along a change of all heights."""
    (model, _, moved), (states, infos) = tray, flight
    hit = int(np.argmax(infos.contacts.impulse[..., 0].max(axis=1)))
    before = jax.tree.map(lambda x: jnp.asarray(x[hit - 1]), states)
    way = np.random.default_rng(5).normal(size=len(model.hfield_heights))
    expected = best_richardson(
        lambda t: np.asarray(moved(before, t, way, 1e-3)[0].v), [1e-7, 1e-6, 1e-5]
    )
    slope = np.asarray(moved(before, 0.0, way, 1e-3)[2].v)
    assert np.abs(expected).max() > 1
    assert np.abs(slope - expected).max() < 1e-6 * np.abs(expected).max()


def test_what_a_budget_leaves_out_is_told():
    model = dojo.load(scene(hills(), [SHAPES["sphere"]]), contact_budget=2)
    found = jax.jit(lambda q: contacts_at(model, q)[0])(jnp.array([0, 0, 0.3, 1, 0, 0, 0]))
    assert collision.contact_geoms(model, found).shape == (2, 2)
    assert found.overflow > 0


def test_height_fields_pass_through_planes_and_each_other():
    """As in MuJoCo, which has no collider for these."""
    more = """<geom name="plane" type="plane" size="1 1 1"/>
        <body name="tray" pos="0 0 3"><freejoint/>
          <geom name="tray" type="hfield" hfield="hills" mass="1"/></body>"""
    xml = scene(hills(), [SHAPES["sphere"]], more=more)
    model = dojo.load(xml.replace('contype="0"', 'name="ball"'))
    names = model.topology.geom_names
    pairs = {
        frozenset((names[a], names[b]))
        for group in model.topology.contacts
        for a, b in zip(group.first, group.second, strict=True)
    }
    assert pairs == {frozenset((name, "ball")) for name in ("ground", "plane", "tray")}


@pytest.mark.parametrize(
    ("heights", "told"),
    [(np.zeros(ROWS * COLUMNS - 1), r"\(180,\)"), (np.full(ROWS * COLUMNS, np.nan), "NaN")],
)
def test_wrong_heights_are_refused(heights, told):
    model = dojo.load(scene(hills(), [SHAPES["sphere"]]))
    with pytest.raises(dojo.ModelError, match=rf"hfield_heights.*{told}"):
        model.replace(hfield_heights=heights)


def test_a_model_without_height_fields_has_no_heights():
    xml = '<mujoco><worldbody><body><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
    model = dojo.load(xml)
    assert model.hfield_heights.shape == (0,)
    assert model.topology.geom_hfield == (None,)
