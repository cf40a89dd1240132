"""The viewer: what is drawn equals the engine's geometry, in the record and in a browser."""

import json
import re
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import umsgpack
from PIL import Image

import dojo
from dojo.physics.kinematics import geom_poses
from dojo.viewer import Visualizer, recording, surfaces

KINDS = {
    "plane": 'type="plane" size="1 2 .1"',
    "sphere": 'type="sphere" size=".1"',
    "capsule": 'type="capsule" size=".1 .3"',
    "ellipsoid": 'type="ellipsoid" size=".1 .2 .3"',
    "cylinder": 'type="cylinder" size=".1 .3"',
    "box": 'type="box" size=".1 .2 .3"',
    "mesh": 'type="mesh" mesh="wedge"',
}
WEDGE = '<mesh name="wedge" vertex="0 0 0  .4 0 0  0 .2 0  0 0 .3"/>'

SLIDER = """
<mujoco><default><geom contype="0" conaffinity="0"/></default><worldbody>
  <geom name="floor" type="plane" size="0 0 .1" rgba=".8 .8 .8 1"/>
  <geom name="post" type="cylinder" size=".1 .5" pos="0 1 .5" rgba="0 0 1 1"/>
  <body pos="0 0 .3"><joint type="slide" axis="1 0 0"/><joint type="hinge" axis="0 1 0"/>
    <geom name="puck" type="box" size=".3 .1 .1" rgba="1 0 0 1"/></body>
</worldbody></mujoco>"""


def one_geom(kind: str, more: str = "") -> str:
    geom = f'<geom name="part" {KINDS[kind]} pos=".1 .2 .3" euler="20 30 40" {more}/>'
    body = f'<body pos="0 0 1"><freejoint/><geom size=".01"/>{geom}</body>'
    if kind == "plane":
        body = geom + '<body><joint/><geom size=".01"/></body>'
    return f"<mujoco><asset>{WEDGE}</asset><worldbody>{body}</worldbody></mujoco>"


def commands(viewer: Visualizer, kind: str) -> dict[str, dict[str, Any]]:
    """The last command of this kind for each path of the scene."""
    unpacked = [umsgpack.unpackb(message) for message in viewer.vis.window.messages()]
    return {c["path"]: c for c in unpacked if c["type"] == kind}


def geom_index(model: Any, name: str) -> int:
    return model.topology.geom_names.index(name)


def node(model: Any, name: str) -> str:
    i = geom_index(model, name)
    return f"/meshcat/group {model.topology.geom_group[i]}/{i} {name}"


def floats(packed: Any) -> np.ndarray:
    return np.frombuffer(packed.data, dtype="<f4")


def slide(model: Any, n_frames: int) -> Any:
    """States that move the puck from x = -1 to 1 m while it turns by 2 rad."""
    x = jnp.linspace(-1.0, 1.0, n_frames)
    return dojo.State(q=jnp.stack([x, x + 1.0], axis=-1), v=jnp.zeros((n_frames, model.nv)))


@pytest.fixture(scope="module")
def slider() -> Any:
    return dojo.load(SLIDER, timestep=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_stands_at_its_pose(kind):
    model = dojo.load(one_geom(kind), timestep=0.01)
    quaternion = np.array([0.5, -0.1, 0.7, 0.3])
    q = [0.2, -0.3, 0.5, *(quaternion / np.linalg.norm(quaternion))] if model.nq == 7 else [0.4]
    state = dojo.init(model, jnp.array(q))
    viewer = Visualizer(model)
    viewer.show(state)

    position, rotation = geom_poses(model, state.q)
    i = geom_index(model, "part")
    sent = commands(viewer, "set_transform")[node(model, "part")]
    matrix = np.reshape(sent["matrix"], (4, 4)).T  # three.js stores columns
    np.testing.assert_allclose(matrix[:3, 3], position[i], atol=1e-6)
    np.testing.assert_allclose(matrix[:3, :3], rotation[i], atol=1e-6)
    np.testing.assert_allclose(matrix[3], [0, 0, 0, 1])


def test_mesh_corners_are_those_of_the_file():
    # MuJoCo moves a mesh to its centre of mass and principal axes; drawn, it must be back in place.
    turned = WEDGE.replace("/>", ' scale="1 1 2"/>')
    geom = '<geom name="part" type="mesh" mesh="wedge" euler="0 0 90"/>'
    model = dojo.load(
        f"<mujoco><asset>{turned}</asset><worldbody>"
        f'<body pos="0 0 1"><freejoint/>{geom}</body></worldbody></mujoco>',
        timestep=0.01,
    )
    viewer = Visualizer(model)
    sent = commands(viewer, "set_object")[node(model, "part")]["object"]["geometries"][0]
    corners = floats(sent["data"]["attributes"]["position"]["array"]).reshape(-1, 3)
    moved = np.reshape(commands(viewer, "set_transform")[node(model, "part")]["matrix"], (4, 4))
    world = np.unique(np.round(corners @ moved[:3, :3] + moved[3, :3], 4) + 0.0, axis=0)
    expected = [[-0.2, 0, 1], [0, 0, 1], [0, 0, 1.6], [0, 0.4, 1]]  # (x, y, 2 z) -> (-y, x, z)
    np.testing.assert_allclose(world, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("surface", "volume"),
    [
        (surfaces.ellipsoid(np.full(3, 0.2)), 4 / 3 * np.pi * 0.2**3),
        (surfaces.ellipsoid(np.array([0.1, 0.2, 0.3])), 4 / 3 * np.pi * 0.1 * 0.2 * 0.3),
        (surfaces.capsule(0.1, 0.3), np.pi * 0.1**2 * (0.6 + 4 / 3 * 0.1)),
        (surfaces.cylinder(0.1, 0.3), np.pi * 0.1**2 * 0.6),
    ],
)
def test_round_surfaces_are_closed_and_face_outward(surface, volume):
    # Divergence theorem: the signed volume is the true one only where every face looks outward.
    # 32 segments inscribed in a circle lose 0.6 % of its area, 16 from pole to pole a bit more.
    vertices, faces = surface
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    signed = np.einsum("ni,ni->", a, np.cross(b, c)) / 6
    assert 0.97 * volume < signed < volume


def test_capsule_and_cylinder_lie_along_z():
    assert np.ptp(surfaces.capsule(0.1, 0.3)[0][:, 2]) == pytest.approx(2 * (0.3 + 0.1))
    assert np.ptp(surfaces.cylinder(0.1, 0.3)[0][:, 2]) == pytest.approx(2 * 0.3)


def test_colour_and_transparency():
    model = dojo.load(one_geom("box", 'rgba="1 .5 0 .4"'), timestep=0.01)
    material = commands(Visualizer(model), "set_object")[node(model, "part")]["object"][
        "materials"
    ][0]
    assert material["color"] == 0xFF8000
    assert material["opacity"] == pytest.approx(0.4)
    assert material["transparent"]


def test_wholly_transparent_geoms_are_not_drawn():
    model = dojo.load(one_geom("box", 'rgba="1 1 1 0"'), timestep=0.01)
    assert node(model, "part") not in commands(Visualizer(model), "set_object")


@pytest.mark.parametrize(("groups", "shown"), [((0, 3), {0}), ((3, 4), {3, 4}), ((1, 2), {1, 2})])
def test_groups_are_shown_as_in_mujoco(groups, shown):
    looks = 'size=".1" contype="0" conaffinity="0"'
    bodies = "".join(f'<body><freejoint/><geom {looks} group="{g}"/></body>' for g in groups)
    floor = '<geom type="plane" size="1 1 1" group="0"/>'
    model = dojo.load(f"<mujoco><worldbody>{floor}{bodies}</worldbody></mujoco>", timestep=0.01)
    visible = {
        path: c["value"]
        for path, c in commands(Visualizer(model), "set_property").items()
        if "/meshcat/group" in path
    }
    for group in groups:
        assert visible[f"/meshcat/group {group}"] == (group in shown)


def test_names_with_slashes_do_not_nest():
    xml = one_geom("box").replace('"part"', '"arm/part"')
    model = dojo.load(xml, timestep=0.01)
    i = geom_index(model, "arm/part")
    assert f"/meshcat/group 0/{i} arm.part" in commands(Visualizer(model), "set_object")


@pytest.mark.parametrize(
    ("timestep", "speed", "n_keys", "duration"),
    [
        (None, 1.0, 51, 1.0),  # 0.01 s: every second of 101 frames, 50 a second
        (None, 0.5, 101, 2.0),  # half speed: every frame
        (1 / 60, 1.0, 101, 100 / 60),
        (0.001, 1.0, 7, 0.1),  # every 17th, and the last
        (0.5, 1.0, 101, 50.0),
    ],
)
def test_animation_runs_in_real_time(slider, timestep, speed, n_keys, duration):
    viewer = Visualizer(slider)
    states = slide(slider, 101)
    viewer.play(states, timestep=timestep, speed=speed)
    (animation,) = commands(viewer, "set_animation").values()
    assert animation["options"] == {"play": True, "repetitions": float("inf")}
    # Floor and post do not move: they have no tracks.
    (puck,) = animation["animations"]
    assert puck["path"] == node(slider, "puck")
    position, quaternion = puck["clip"]["tracks"]
    times = floats(position["times"]) / puck["clip"]["fps"]
    assert len(times) == n_keys
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(duration)
    assert np.diff(times).min() > 1 / 61 or times[-1] - times[-2] < 1 / 60
    np.testing.assert_allclose(floats(position["values"]).reshape(-1, 3)[[0, -1], 0], [-1, 1])
    assert len(floats(quaternion["values"])) == 4 * n_keys


def test_show_ends_the_animation(slider):
    viewer = Visualizer(slider)
    viewer.play(slide(slider, 5))
    viewer.show(dojo.init(slider))
    assert not commands(viewer, "set_animation")


def test_camera_takes_in_what_leaves_the_view(slider):
    viewer = Visualizer(slider)

    def center() -> np.ndarray:
        return -np.reshape(commands(viewer, "set_transform")["/meshcat"]["matrix"], (4, 4))[3, :3]

    at_rest = center()
    viewer.show(dojo.init(slider, jnp.array([0.1, 0.0])))
    np.testing.assert_array_equal(center(), at_rest)
    viewer.show(dojo.init(slider, jnp.array([9.0, 0.0])))
    assert center()[0] > 3.0
    viewer.show(dojo.init(slider, jnp.array([50.0, 0.0])))
    floor = commands(viewer, "set_object")[node(slider, "floor")]["object"]["geometries"][0]
    assert floor["width"] > 100.0
    viewer.look_at(eye=(1.0, -2.0, 1.0), target=(0.0, 0.0, 0.5))
    viewer.play(slide(slider, 3))
    np.testing.assert_allclose(center(), [0.0, 0.0, 0.5])


def test_camera_follows_a_long_way():
    model = dojo.load(one_geom("box"), timestep=0.02)
    rest = dojo.init(model).q
    n = 201
    way = jnp.linspace(0.0, 30.0, n)
    states = dojo.State(q=jnp.tile(rest, (n, 1)).at[:, 0].set(way), v=jnp.zeros((n, model.nv)))
    viewer = Visualizer(model)
    viewer.play(states)

    def world_track() -> list[np.ndarray]:
        (animation,) = commands(viewer, "set_animation").values()
        clips = {a["path"]: a["clip"] for a in animation["animations"]}
        assert node(model, "part") in clips
        tracks = clips["/meshcat"]["tracks"] if "/meshcat" in clips else []
        return [floats(track["values"]) for track in tracks]

    position, quaternion = world_track()
    # The world moves against the box, 0.15 m a frame; the ends are smoothed.
    x = position.reshape(-1, 3)[:, 0]
    np.testing.assert_allclose(np.diff(x)[80:120], -0.15, atol=1e-4)
    np.testing.assert_allclose(quaternion.reshape(-1, 4), [[0, 0, 0, 1]] * n)
    viewer.look_at(eye=(1.0, -2.0, 1.0), target=(0.0, 0.0, 0.5))
    assert world_track() == []


def test_page_refers_to_nothing_outside(slider, tmp_path):
    viewer = Visualizer(slider)
    viewer.play(slide(slider, 5))
    path = viewer.save(tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    page = path.read_text(encoding="utf-8")
    assert page == viewer.html()
    # XML namespaces are names, not addresses.
    addresses = set(re.findall(r"(?:https?|wss?)://[\w.]+", page))
    assert addresses <= {"http://www.w3.org"}, addresses
    assert not re.findall(r"<script[^>]*\ssrc=", page)
    assert re.findall(r"<link[^>]*href=\"([^\"]*)\"", page) == ["data:,"]


def bad_calls(model: Any) -> dict[str, Any]:
    """Wrong calls, by a part of the message that each must give."""
    viewer = Visualizer(model)
    rest = dojo.init(model)
    states = slide(model, 4)

    def with_q(q: Any) -> Any:
        return dojo.State(q=jnp.asarray(q), v=rest.v)

    return {
        r"show: q has shape \(4, 2\), expected \(2,\); play\(\)": lambda: viewer.show(states),
        r"show: q has shape \(3,\)": lambda: viewer.show(with_q(jnp.zeros(3))),
        r"show: q holds NaN": lambda: viewer.show(with_q([0.0, jnp.nan])),
        r"play: q has shape \(2,\), expected \(T, 2\); show\(\)": lambda: viewer.play(rest),
        r"play: q has shape \(3, 4, 2\).*batch pick": lambda: viewer.play(
            with_q(jnp.zeros((3, 4, 2)))
        ),
        r"got a tuple, expected a dojo.State": lambda: viewer.show((rest, None)),
        r"trajectory is empty": lambda: viewer.play(with_q(jnp.zeros((0, 2)))),
        r"in 2 of 4 frames, first in frame 2": lambda: viewer.play(
            with_q(states.q.at[2:].set(jnp.inf))
        ),
        r"timestep is 0": lambda: viewer.play(states, timestep=0.0),
        r"speed is -1": lambda: viewer.play(states, speed=-1.0),
        r"eye and target are both": lambda: viewer.look_at((0, 0, 1), (0, 0, 1)),
        r"must be 3 finite numbers": lambda: viewer.look_at((0, 0), (0, 0, 1)),
        r"cannot write '.*missing.*existing folder": lambda: viewer.save("missing/page.html"),
    }


def test_errors_name_the_thing_and_the_remedy(slider):
    for message, call in bad_calls(slider).items():
        with pytest.raises(ValueError, match=message):
            call()


def test_live_scene_is_served_and_its_death_is_no_hang(slider, monkeypatch, tmp_path):
    monkeypatch.setattr(recording, "_ANSWER_TIMEOUT_MS", 300)
    viewer = Visualizer(slider)
    with urllib.request.urlopen(viewer.url, timeout=5) as answer:
        assert answer.status == 200
    assert viewer.url in viewer.jupyter(height=300).data
    # The server's copy of the scene, as a browser would get it.
    window = viewer.vis.window._live
    assert window.get_scene().count("handle_command_bytearray") > len(slider.topology.geom_kind)

    window.server_proc.kill()
    window.server_proc.communicate()
    with pytest.raises(RuntimeError, match=r"stopped answering.*save\(path\) work without"):
        viewer.show(dojo.init(slider))
    assert viewer.save(tmp_path / "page.html").exists()


def test_two_models_share_a_scene(slider):
    first = Visualizer(slider)
    second = Visualizer(slider, vis=first.vis["second"])
    paths = commands(first, "set_object")
    assert node(slider, "puck") in paths
    assert node(slider, "puck").replace("/meshcat", "/meshcat/second") in paths
    assert first.html() == second.html()


def test_server_that_does_not_start_is_an_error(slider, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(recording, "_START_TIMEOUT", 0.1)
    monkeypatch.setattr(recording, "ViewerWindow", lambda **_: release.wait(10))
    with pytest.raises(RuntimeError, match=r"did not start .*no answer within 0\.1 s"):
        _ = Visualizer(slider).url
    release.set()


CHROMIUM = shutil.which("chromium")
PROBE = """
<pre id="probe"></pre>
<script>
const found = {};
function report() {
    found.playing = viewer.animator.playing;  // after 2.5 turns of the loop
    viewer.animator.pause();
    viewer.animator.seek(SEEK);
    viewer.scene.updateMatrixWorld(true);
    const world = viewer.scene_tree.find(["meshcat"]).object.matrixWorld.clone().invert();
    found.puck = world.multiply(viewer.scene_tree.find(PATH).object.matrixWorld).elements;
    found.resources = performance.getEntriesByType("resource").map((entry) => entry.name);
    document.getElementById("probe").textContent = JSON.stringify(found);
}
setTimeout(report, 2500);
</script></body>"""
FREEZE = "<script>viewer.animator.pause(); viewer.animator.seek(SEEK);</script></body>"


def browse(page: str, folder: Path, *options: str) -> str:
    """Open a page in headless chromium with software rendering; returns what it prints."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--use-gl=angle",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=500,350",
        *options, path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def screenshot(page: str, folder: Path, seconds: float) -> np.ndarray:
    """Pixels (height, width, 3) of the page's animation, stopped at `seconds`."""
    png = folder / "shot.png"
    frozen = page.replace("</body>", FREEZE.replace("SEEK", str(seconds)))
    browse(frozen, folder, "--virtual-time-budget=1000", f"--screenshot={png}")
    return np.asarray(Image.open(png).convert("RGB"), dtype=int)


def reddish(pixels: np.ndarray) -> np.ndarray:
    """Rows and columns (n, 2) of the puck's pixels."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return np.argwhere((red > 100) & (green < 60) & (blue < 60))


@pytest.mark.skipif(CHROMIUM is None, reason="needs `chromium` on PATH to look at the page")
def test_browser_shows_what_was_simulated(slider, tmp_path):
    viewer = Visualizer(slider)
    states = slide(slider, 101)
    viewer.play(states)
    page = viewer.html()

    start, end = (screenshot(page, tmp_path, t) for t in (0.0, 1.0))
    assert len(reddish(start)) > 300
    assert len(reddish(end)) > 300
    # The camera has x to the right, and the puck goes along x, over a view some 4 m wide.
    assert reddish(end)[:, 1].mean() - reddish(start)[:, 1].mean() > 100
    blue = (start[..., 2] > 100) & (start[..., 0] < 60)
    assert blue.sum() > 300

    path = json.dumps(node(slider, "puck").strip("/").split("/"))
    probe = PROBE.replace("PATH", path).replace("SEEK", "0.6")
    dom = browse(
        page.replace("</body>", probe), tmp_path, "--virtual-time-budget=4000", "--dump-dom"
    )
    found = json.loads(re.findall(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)[-1])
    assert found["playing"]
    assert all(name.startswith("data:") for name in found["resources"]), found["resources"]
    position, rotation = geom_poses(slider, states.q[60])
    i = geom_index(slider, "puck")
    matrix = np.reshape(found["puck"], (4, 4)).T
    np.testing.assert_allclose(matrix[:3, 3], position[i], atol=1e-5)
    np.testing.assert_allclose(matrix[:3, :3], rotation[i], atol=1e-5)
