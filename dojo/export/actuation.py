"""Actuators and sensors."""

from typing import Any

import numpy as np

from dojo.export.bodies import name_of
from dojo.export.document import Document, add, unique
from dojo.loaders.sensors import JOINTS
from dojo.model.sensor import Sensor, Subtree


def write_actuators(document: Document, names: list[str], tendons: list[str]) -> None:
    """General actuators on joints, tendons and sites."""
    model, t = document.model, document.model.topology
    table = t.actuators
    memory = {int(k): i for i, k in enumerate(t.activations.actuator)}
    for k, name in enumerate(names):
        gain, bias = np.asarray(model.actuator_gain[k]), np.asarray(model.actuator_bias[k])
        ctrl, force = table.ctrl_limited[k], table.force_limited[k]
        add(
            document.section("actuator"),
            "general",
            name=name,
            **_transmission(document, k, tendons),
            gear=model.actuator_gear[k],
            gaintype="affine",
            gainprm=gain,
            biastype="affine",
            biasprm=bias,
            ctrllimited=True if ctrl else None,
            ctrlrange=model.actuator_ctrl_range[k] if ctrl else None,
            forcelimited=True if force else None,
            forcerange=model.actuator_force_range[k] if force else None,
            **(_activation(document, memory[k]) if k in memory else {}),
        )


def write_sensors(document: Document, tendons: list[str], actuators: list[str]) -> None:
    """The sensors, at sites where they are at a frame."""
    left_out, sensors = [], document.model.topology.sensors
    for name, sensor in zip(unique(s.name for s in sensors), sensors, strict=True):
        at = _place(document, sensor, tendons, actuators)
        if at is None:
            left_out.append(sensor.name)
            continue
        cutoff = sensor.cutoff or None
        add(document.section("sensor"), sensor.kind, name=name, cutoff=cutoff, **at)
    if left_out:
        document.notes.append(
            f"sensors at bodies that are fixed to others, left out: {', '.join(left_out)}"
        )


def _transmission(document: Document, k: int, tendons: list[str]) -> dict[str, Any]:
    model, t = document.model, document.model.topology
    table = t.actuators
    if table.joint[k] >= 0:
        return {"joint": document.joints[table.joint[k]]}
    if table.tendon[k] >= 0:
        return {"tendon": tendons[table.tendon[k]]}
    pose = {"pos": model.actuator_pos[k], "quat": model.actuator_quat[k]}
    return {"site": document.site(int(table.site_link[k]), f"actuator/{k}", **pose)}


def _activation(document: Document, i: int) -> dict[str, Any]:
    model, table = document.model, document.model.topology.activations
    found: dict[str, Any] = {"dyntype": "filterexact" if table.filtered[i] else "integrator"}
    if table.filtered[i]:
        found["dynprm"] = model.activation_timeconst[i]
    if table.limited[i]:
        found |= {"actlimited": True, "actrange": model.activation_range[i]}
    return found | ({"actearly": True} if table.early[i] else {})


def _place(
    document: Document, sensor: Sensor, tendons: list[str], actuators: list[str]
) -> dict[str, Any] | None:
    """What a sensor is at; None where the format has no such place."""
    kind = sensor.kind
    if sensor.subtree is not None and not _whole(document, sensor.subtree, kind == "touch"):
        return None
    if kind.startswith("e_"):
        return {}
    if kind.startswith("subtree"):
        assert sensor.subtree is not None
        return {"body": name_of(document, sensor.subtree.link)}
    if kind in JOINTS:
        return {"joint": document.joints[sensor.index]}
    if kind.startswith("tendon"):
        return {"tendon": tendons[sensor.index]}
    if kind.startswith("actuator"):
        return {"actuator": actuators[sensor.index]}
    shape: dict[str, Any] = {}
    if sensor.zone is not None:
        shape = {"type": sensor.zone[0], "size": sensor.zone[1]}
    site = _site(document, sensor.frame, sensor.name, **shape)
    if not kind.startswith("frame"):
        return {"site": site}
    found: dict[str, Any] = {"objtype": "site", "objname": site}
    if sensor.reference >= 0:
        reference = _site(document, sensor.reference, f"{sensor.name}/reference")
        found |= {"reftype": "site", "refname": reference}
    return found


def _site(document: Document, frame: int, name: str, **shape: Any) -> str:
    """A site at a frame of a sensor."""
    model = document.model
    pose = {"pos": model.sensor_pos[frame], "quat": model.sensor_quat[frame]}
    link = int(model.topology.sensor_link[frame])
    return document.site(link, f"sensor/{name}", **pose, **shape)


def _whole(document: Document, subtree: Subtree, touch: bool) -> bool:
    """Whether what hangs on a body are whole links, and all geoms those of its first one."""
    if subtree.link not in subtree.links:
        return False
    of_body = document.model.topology.geom_link == subtree.link
    body = document.bodies[subtree.link]
    first = min(i for i, element in document.bodies.items() if element is body)
    whole = first == subtree.links.min()
    return whole and (not touch or bool(np.array_equal(subtree.own_geoms, of_body)))
