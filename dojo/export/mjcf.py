"""A model as an MJCF file, with its parameters of now."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dojo.export.actuation import write_actuators, write_sensors
from dojo.export.bodies import write_bodies, write_frames, write_geoms
from dojo.export.constraints import write_equalities, write_tendons
from dojo.export.contacts import write_contacts
from dojo.export.document import Document, add, unique, write
from dojo.export.medium import write_medium
from dojo.loaders.restitution import CUSTOM
from dojo.model.errors import ModelError
from dojo.model.model import Model


def save_mjcf(model: Model, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write a model as one MJCF file, with the parameters that it has now.

    Meshes and height fields are in the file. What collides of a mesh is its hull, as here, and
    bodies that were fixed to others are part of them. MuJoCo keeps meshes and heights in single
    precision. Not written: materials, textures, lights, cameras, `contact_budget`, MuJoCo's solver
    settings but for the elliptic cone, and what was left out when the model was loaded.

    Args:
        model: the robot, e.g. with identified parameters.
        path: of the file, usually ending in .xml; overwritten.

    Returns:
        What the format cannot say of this model, a line each.

    Raises:
        ModelError: parameters that MJCF has no place for, a batch of models.
    """
    if np.ndim(model.timestep):
        raise ModelError(
            "save_mjcf: takes one model, not a batch: jax.tree.map(lambda x: x[0], ...)."
        )
    target = Path(path)
    document = Document.of(model, target.stem)
    t = model.topology
    geoms, tendons, actuators = (
        unique(names) for names in (t.geom_names, t.tendon_names, t.actuator_names)
    )
    _write_options(document)
    write_medium(document)
    write_bodies(document)
    write_geoms(document, geoms)
    write_frames(document)
    write_tendons(document, tendons, geoms)
    write_equalities(document, tendons)
    write_contacts(document, geoms)
    write_actuators(document, actuators, tendons)
    write_sensors(document, tendons, actuators)
    _write_restitution(document, geoms)
    _write_keyframes(document)
    for note in document.notes:
        # Two hyphens would end a comment.
        document.root.insert(0, ElementTree.Comment(f" {re.sub('-(?=-)', '- ', note)} "))
    document.compiled()
    target.write_text(document.text(), encoding="utf-8")
    return tuple(document.notes)


def _write_options(document: Document) -> None:
    model = document.model
    write(
        document.section("option"),
        timestep=model.timestep,
        gravity=model.gravity,
        magnetic=model.topology.magnetic_field,
        cone="elliptic",
    )


def _write_restitution(document: Document, geoms: list[str]) -> None:
    """MJCF has none of its own: a custom tuple, which `load` reads."""
    values = np.asarray(document.model.geom_restitution)
    if not np.any(values):
        return
    element = add(document.section("custom"), "tuple", name=CUSTOM)
    for name, value in zip(geoms, values, strict=True):
        add(element, "element", objtype="geom", objname=name, prm=value)


def _write_keyframes(document: Document) -> None:
    t, mocap = document.model.topology, 7 * document.model.nmocap
    for name, key in zip(unique(key.name for key in t.keyframes), t.keyframes, strict=True):
        split = len(key.q) - mocap
        poses = np.reshape(key.q[split:], (-1, 7))
        add(
            document.section("keyframe"),
            "key",
            name=name,
            qpos=key.q[:split],
            qvel=key.v,
            act=key.act or None,
            ctrl=key.ctrl or None,
            mpos=poses[:, :3] if mocap else None,
            mquat=poses[:, 3:] if mocap else None,
        )
