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
from simulator import energies, momenta, simulate

import dojo
from dojo.physics import collision
from dojo.physics.kinematics import link_frames, local_maps

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


def gaps_of(model):
    """A function from q (B, nq) to the least gap of each second geom, (B, geoms)."""

    @jax.jit
    @jax.vmap
    def least(q):
        frames = link_frames(model, local_maps(model), q)
        found = collision.anchored(model, collision.candidates(model), frames, frames)
        second = jnp.asarray(collision.contact_geoms(model, found))[1]
        gap = collision.touch(model, found, frames).gap
        mine = second == jnp.arange(1, len(model.topology.geom_kind))[:, None]
        return jnp.min(jnp.where(mine, gap, jnp.inf), axis=1)

    return least


def poses(model, rng, count, place):
    """Configurations with free bodies at `place(n)` (n, 3), turned any way."""
    bodies = model.nq // 7
    q = np.zeros((count, bodies, 7))
    q[..., :3] = place(count * bodies).reshape(count, bodies, 3)
    quats = rng.normal(size=(count, bodies, 4))
    q[..., 3:] = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
    return jnp.asarray(q.reshape(count, -1))


def test_the_surface_is_mujocos():
    """Heights by rays, of the triangles that are drawn and that balls are held away from."""
    xml = scene(hills(), [SHAPES["sphere"]], 'pos=".1 -.05 .2" euler="0 0 20"')
    model, m = dojo.load(xml), mujoco.MjModel.from_xml_string(xml)
    d, hit = mujoco.MjData(m), np.zeros(1, np.int32)
    mujoco.mj_forward(m, d)
    rng = np.random.default_rng(1)
    local = np.stack([rng.uniform(-1.3, 1.3, 400), rng.uniform(-1, 1, 400)], axis=1)
    turn = Rotation.from_quat(m.geom_quat[0], scalar_first=True)
    down, group = np.array([0.0, 0, -1]), np.ones(6, np.uint8)
    places = turn.apply(np.c_[local, np.full(400, 2.0)]) + m.geom_pos[0]
    rays = [mujoco.mj_ray(m, d, x, down, group, 1, 1, hit, None) for x in places]
    surface = places - np.outer(rays, -down)
    mesh = model.topology.geom_mesh[0]
    corners = turn.apply(mesh.vertices) + m.geom_pos[0]
    drawn = trimesh.Trimesh(corners, mesh.faces, process=False)
    # Rounding of the heights in MuJoCo's float32.
    assert np.abs(distances(drawn, surface)).max() < 1e-6

    centres = surface + np.c_[np.zeros((400, 2)), rng.uniform(0.05, 0.4, 400)]
    expected = distances(drawn, centres)
    apart = expected > 0.1
    q = poses(model, rng, 400, lambda _: centres)
    gap = np.asarray(gaps_of(model)(q))[:, 0]
    assert apart.sum() > 200
    near = apart & (expected < 0.15)
    assert near.sum() > 50
    assert np.abs(gap + 0.1 - expected)[near].max() < 1e-9
    assert (gap + 0.1 > expected - 1e-9)[apart].all()


def distances(mesh, points):
    """Distances (n,) of points from a mesh's triangles."""
    count = len(mesh.triangles)

    def nearest(x):
        found = trimesh.triangles.closest_point(mesh.triangles, np.tile(x, (count, 1)))
        return np.linalg.norm(found - x, axis=1).min()

    return np.array([nearest(x) for x in points])


def test_gaps_over_a_slope_are_those_of_a_plane():
    """Every shape in any orientation, above a height field that is flat, or a little in it."""
    x, y = np.linspace(-HALF_X, HALF_X, COLUMNS), np.linspace(-HALF_Y, HALF_Y, ROWS)
    rise = np.array([2.0, 1.0]) * TOP / (4 * HALF_X + 2 * HALF_Y)
    heights = 0.5 + (rise[0] * x + rise[1] * y[:, None]) / TOP
    model = dojo.load(scene(heights, SHAPES.values()), contact_budget=300)
    normal = np.array([*-rise, 1.0]) / np.sqrt(1 + rise @ rise)
    rng = np.random.default_rng(2)

    def place(n):
        across = rng.uniform(-0.6, 0.6, (n, 2))
        return np.c_[across, across @ rise + TOP / 2 + rng.uniform(0.02, 0.25, n)]

    q = poses(model, rng, 300, place)
    got = np.asarray(gaps_of(model)(q))
    for k, kind in enumerate(SHAPES):
        pose = np.asarray(q).reshape(-1, len(SHAPES), 7)[:, k]
        local = Rotation.from_quat(pose[:, 3:], scalar_first=True).inv().apply(normal)
        expected = (pose[:, :3] - [0, 0, TOP / 2]) @ normal - support(kind, -local, model)
        near = (expected > -1e-3) & (expected < 0.1)
        assert near.sum() > 50, kind
        # What is left is the rounding of heights in MuJoCo's float32.
        error = np.abs(got[:, k] - expected)[near].max()
        assert error < 3e-8, (kind, error)


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
def tumbling():
    """A ball, a capsule and a box over hills: the model, and a simulation of 1.5 s."""
    shapes = [SHAPES[kind] for kind in ("sphere", "capsule", "box")]
    model = dojo.load(scene(hills(), shapes), contact_budget=40)
    v = 2 * np.random.default_rng(3).uniform(-1, 1, model.nv)
    return model, *simulate(model, dojo.init(model, v=v), 150, kappa=1e-7)


def test_bodies_tumble_over_hills(tumbling):
    model, states, infos = tumbling
    assert infos.converged.all()
    assert (infos.contacts.overflow == 0).all()
    assert infos.contacts.gap.min() > -1e-9
    hit = infos.contacts.impulse[..., 0] > 1e-2
    assert set(infos.contacts.geoms[hit][:, 1]) == {1, 2, 3}
    energy = np.asarray(energies(model, states))
    # The barriers' kappa / h each, and what a support that turns on a curved surface gives back.
    assert np.diff(energy).max() < 1e-3
    assert energy[-1] < 0.7 * energy[0]


@pytest.fixture(scope="module")
def landed(tumbling):
    """The ball and the box alone, at some moments of their way: a model, q and v (lanes, ...)."""
    model = dojo.load(scene(hills(), [SHAPES["sphere"], SHAPES["box"]]), contact_budget=10)
    _, states, _ = tumbling
    some, bodies = [35, 60, 149], [0, 2]
    q = states.q[some].reshape(3, 3, 7)[:, bodies].reshape(3, -1)
    v = states.v[some].reshape(3, 3, 6)[:, bodies].reshape(3, -1)
    return (
        model,
        jnp.asarray(q),
        jnp.asarray(v + 0.1 * np.random.default_rng(4).normal(size=v.shape)),
    )


def test_jacobians_agree_with_differences(landed):
    model, q, v = landed
    info, error = Steps(model).errors(q, v, directions=3)
    assert info.converged.all()
    assert (np.asarray(info.contacts.impulse)[..., 0].max(axis=1) > 1e-2).all()
    assert (error < 1e-6).all(), error


def test_heights_are_parameters(landed):
    """The velocity after a step by the heights, along random changes of these."""
    model, q, v = landed
    options = dojo.SolverOptions(kappa=1e-3)

    def loss(t, way):
        hilly = model.replace(hfield_heights=model.hfield_heights + t * way)
        after, _ = dojo.step(hilly, dojo.State(q[1], v[1]), options=options)
        return jnp.sum(after.v)

    value_and_slope = jax.jit(jax.value_and_grad(loss))
    for way in np.random.default_rng(5).normal(size=(2, len(model.hfield_heights))):
        expected = best_richardson(
            lambda t, way=way: np.asarray(value_and_slope(t, way)[0]), [1e-6, 1e-5, 1e-4]
        )
        slope = float(value_and_slope(0.0, way)[1])
        assert slope == pytest.approx(float(expected), rel=1e-6)


def test_a_floating_height_field_keeps_momentum():
    """A tray with a surface of hills flies into a ball: no gravity, nothing fixed."""
    ball = f'<body pos=".1 .05 .9"><freejoint/><geom {SHAPES["sphere"]} mass="1"/></body>'
    xml = scene(hills(), []).replace('<geom name="ground"', '<body name="tray"><freejoint/>'
        '<inertial pos="0 0 0" mass="2" diaginertia=".3 .4 .5"/><geom name="ground"')  # fmt: skip
    xml = xml.replace('conaffinity="0" />', f"/></body>{ball}").replace(
        "<option", '<option gravity="0 0 0"'
    )
    model = dojo.load(xml)
    v = np.zeros(12)
    v[:6] = 0.1, 0.0, 1.0, 0.3, 0.2, 0.1
    states, infos = simulate(model, dojo.init(model, v=v), 150, kappa=1e-8)
    assert infos.converged.all()
    assert infos.contacts.impulse[..., 0].max() > 0.1
    momentum = momenta(model, states)
    assert np.abs(momentum - momentum[0]).max() < 1e-10
    energy = np.asarray(energies(model, states))
    # Of second order in h, as in flight, and the barrier's kappa / h.
    assert np.diff(energy).max() < energy[0] * 0.01**2 + 1e-8 / 0.01
    assert energy[-1] < 0.9 * energy[0]


def test_what_a_budget_leaves_out_is_told():
    model = dojo.load(scene(hills(), [SHAPES["box"]]), contact_budget=2)
    _, info = dojo.step(model, dojo.init(model, q=[0, 0, 0.3, 1, 0, 0, 0]))
    assert info.contacts.geoms.shape == (18, 2)
    assert info.contacts.overflow > 0


def test_height_fields_pass_through_planes():
    plane = '<geom name="plane" type="plane" size="1 1 1"/>'
    model = dojo.load(scene(hills(), [SHAPES["sphere"]], more=plane))
    names = model.topology.geom_names
    pairs = {
        frozenset((names[a], names[b]))
        for group in model.topology.contacts
        for a, b in zip(group.first, group.second, strict=True)
    }
    assert pairs == {frozenset(("ground", "geom2")), frozenset(("plane", "geom2"))}
