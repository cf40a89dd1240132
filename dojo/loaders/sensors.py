"""Sensors: what they are at, and what that stands for among the links."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.actuators import ReadActuators, actuator_count
from dojo.loaders.findings import Findings, listing
from dojo.loaders.geoms import Geoms
from dojo.loaders.links import Links, Pose, merged_inertia
from dojo.loaders.names import element_name
from dojo.loaders.tendons import Tendons
from dojo.model.sensor import Sensor, Subtree

_OBJ, _SENSOR = mujoco.mjtObj, mujoco.mjtSensor
_FRAMES = {"framepos", "framequat", "framexaxis", "frameyaxis", "framezaxis"}
_FRAMES |= {"framelinvel", "frameangvel", "framelinacc", "frameangacc"}
_AT_SITES = {"accelerometer", "velocimeter", "gyro", "magnetometer", "force", "torque", "touch"}
_SUBTREES = {"subtreecom", "subtreelinvel", "subtreeangmom"}
JOINTS = {"jointpos", "jointvel", "ballquat", "ballangvel", "jointactuatorfrc"}
_TENDONS, _ACTUATORS = {"tendonpos", "tendonvel"}, {"actuatorpos", "actuatorvel", "actuatorfrc"}
_ENERGIES = {"e_potential", "e_kinetic"}
KINDS = _FRAMES | _AT_SITES | _SUBTREES | JOINTS | _TENDONS | _ACTUATORS | _ENERGIES
# MuJoCo's short names, where they differ from those in files.
_LONG = {"jointactfrc": "jointactuatorfrc"}
_ZONES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
}


# Kind and index of what a sensor is at.
_Object = tuple[int, int]


@dataclasses.dataclass
class Sensors:
    """The sensors that are evaluated, and the frames that they are at."""

    table: tuple[Sensor, ...]
    link: np.ndarray  # (k,) links of the frames
    parameters: dict[str, np.ndarray]


def read_sensors(
    m: mujoco.MjModel,
    links: Links,
    geoms: Geoms,
    tendons: Tendons,
    actuators: ReadActuators,
    found: Findings,
) -> Sensors:
    """All sensors of the kinds that are known; a note names the others."""
    frames: dict[_Object, int] = {}
    sensors, left_out = [], []
    index = {
        **dict.fromkeys(JOINTS, np.arange(m.njnt)),
        **dict.fromkeys(_TENDONS, tendons.index),
        **dict.fromkeys(_ACTUATORS, _places(actuators.index, actuator_count(m))),
    }

    def frame(obj: _Object) -> int:
        return frames.setdefault(obj, len(frames)) if obj[1] >= 0 else -1

    for s in range(m.nsensor):
        kind, obj, reference = _kind(m, s), *_objects(m, s)
        at = int(index[kind][obj[1]]) if kind in index else -1
        if reason := _unknown(m, s, kind in index and at < 0):
            left_out.append(f"{_name(m, s)} ({reason})")
            continue
        carries = kind in _SUBTREES | {"force", "torque", "touch"}
        sensors.append(
            Sensor(
                name=_name(m, s),
                kind=kind,
                size=int(m.sensor_dim[s]),
                index=at,
                frame=frame(obj) if kind in _FRAMES | _AT_SITES else -1,
                reference=frame(reference) if kind in _FRAMES else -1,
                subtree=_subtree(m, links, geoms, _body(m, *obj)) if carries else None,
                zone=_zone(m, obj[1]) if kind == "touch" else None,
                cutoff=float(m.sensor_cutoff[s]),
            )
        )
    if left_out:
        found.note(f"{len(left_out)} sensors are not evaluated: {listing(left_out)}")
    poses = [_pose(m, *obj) for obj in frames]
    bodies = [_body(m, *obj) for obj in frames]
    at_links = [links.body_pose[b] @ pose for b, pose in zip(bodies, poses, strict=True)]
    return Sensors(
        table=tuple(sensors),
        link=np.array([links.body_link[b] for b in bodies], dtype=int),
        parameters={
            "sensor_pos": np.array([p.pos for p in at_links]).reshape(-1, 3),
            "sensor_quat": np.array([p.quat for p in at_links]).reshape(-1, 4),
        },
    )


def _objects(m: mujoco.MjModel, s: int) -> tuple[_Object, _Object]:
    """What a sensor is at, and what it measures in, index -1 if nothing."""
    return (
        (int(m.sensor_objtype[s]), int(m.sensor_objid[s])),
        (int(m.sensor_reftype[s]), int(m.sensor_refid[s])),
    )


def _unknown(m: mujoco.MjModel, s: int, gone: bool) -> str:
    """Why a sensor is left out, empty if it is not; gone: with what it is at."""
    if any(_follows(m, *obj) for obj in _objects(m, s)):
        return "a camera that follows something"
    # Absent from older MuJoCo releases.
    delayed = bool(getattr(m, "sensor_delay", np.zeros(m.nsensor))[s])
    return _kind(m, s) if gone or delayed or _kind(m, s) not in KINDS else ""


def _kind(m: mujoco.MjModel, s: int) -> str:
    name = _SENSOR(m.sensor_type[s]).name.removeprefix("mjSENS_").lower()
    return _LONG.get(name, name)


def _name(m: mujoco.MjModel, s: int) -> str:
    return element_name(m, _OBJ.mjOBJ_SENSOR, s)


def _places(index: np.ndarray, count: int) -> np.ndarray:
    """Where each of MuJoCo's elements is in a selection, -1 where it is not: (count,)."""
    places = np.full(count, -1)
    places[index] = np.arange(len(index))
    return places


def _body(m: mujoco.MjModel, kind: int, obj: int) -> int:
    """The body that an object belongs to, 0 for the world and for what has none."""
    if kind in (int(_OBJ.mjOBJ_BODY), int(_OBJ.mjOBJ_XBODY)):
        return obj
    tables = {
        int(_OBJ.mjOBJ_SITE): m.site_bodyid,
        int(_OBJ.mjOBJ_GEOM): m.geom_bodyid,
        int(_OBJ.mjOBJ_CAMERA): m.cam_bodyid,
    }
    return int(tables[kind][obj]) if kind in tables else 0


def _follows(m: mujoco.MjModel, kind: int, obj: int) -> bool:
    """Whether it is a camera that MuJoCo turns or moves by itself."""
    camera = kind == int(_OBJ.mjOBJ_CAMERA) and obj >= 0
    return bool(camera and m.cam_mode[obj] != int(mujoco.mjtCamLight.mjCAMLIGHT_FIXED))


def _pose(m: mujoco.MjModel, kind: int, obj: int) -> Pose:
    """The pose of an object's frame in its body."""
    if kind == int(_OBJ.mjOBJ_XBODY):
        return Pose(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
    pos, quat = {
        int(_OBJ.mjOBJ_BODY): (m.body_ipos, m.body_iquat),
        int(_OBJ.mjOBJ_SITE): (m.site_pos, m.site_quat),
        int(_OBJ.mjOBJ_GEOM): (m.geom_pos, m.geom_quat),
        int(_OBJ.mjOBJ_CAMERA): (m.cam_pos, m.cam_quat),
    }[kind]
    return Pose(pos[obj].copy(), quat[obj].copy())


def _zone(m: mujoco.MjModel, site: int) -> tuple[str, tuple[float, ...]]:
    return _ZONES[int(m.site_type[site])], tuple(float(x) for x in m.site_size[site])


def _subtree(m: mujoco.MjModel, links: Links, geoms: Geoms, body: int) -> Subtree:
    inside = np.zeros(m.nbody, dtype=bool)
    inside[body] = True
    for b in range(body + 1, m.nbody):
        inside[b] = inside[m.body_parentid[b]]
    whole = np.flatnonzero(inside[m.jnt_bodyid])
    link = int(links.body_link[body])
    merged = inside & (links.body_link == link)
    # Bodies fixed to the world count, the world does not.
    merged[0] = False
    merged &= link not in whole
    mass, com, inertia = merged_inertia(m, np.flatnonzero(merged), links.body_pose)
    of_link = links.parameters["link_mass"][link] if link >= 0 else 1.0
    of_body = np.array([m.geom_bodyid[g] for g in geoms.index], dtype=int)
    return Subtree(
        links=whole,
        link=link,
        share=float(mass / of_link) if of_link > 0 else 0.0,
        com=com if mass > 0 else links.body_pose[body].pos,
        gyration=inertia / mass if mass > 0 else inertia,
        geoms=inside[of_body],
        own_geoms=of_body == body,
    )
