"""Links as bodies: joints, inertias, geoms, named frames."""

from typing import Any

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from dojo.export.document import Document, Element, add, unique
from dojo.export.shapes import Shapes
from dojo.model.errors import ModelError
from dojo.model.model import Model
from dojo.model.topology import WORLD, Topology


def write_bodies(document: Document) -> None:
    """The bodies of all links, with joints and inertias.

    Raises:
        ModelError: a link without mass, or a joint whose degrees of freedom differ in what the
            format has once for all of them.
    """
    model, t = document.model, document.model.topology
    names = unique(t.link_names)
    _note_rest(document)
    for i, kind in enumerate(t.joint_kind):
        if i and _carries_on(document, i - 1):
            element = document.bodies[i - 1]
        else:
            pose = _pose(document, i)
            mocap = True if kind == "mocap" else None
            last = _last(document, i)
            carried = model.link_gravcomp[last] if np.any(model.link_gravcomp[last]) else None
            up = document.bodies[int(t.parent[i])]
            element = add(up, "body", name=names[last], mocap=mocap, gravcomp=carried, **pose)
        document.bodies[i] = element
        if kind != "mocap":
            _joint(document, i, element)
            if not _carries_on(document, i):
                _inertial(document, i, element)


def write_geoms(document: Document, names: list[str]) -> None:
    """The geoms, in their bodies."""
    model, t = document.model, document.model.topology
    shapes = Shapes(document)
    for g, kind in enumerate(t.geom_kind):
        pos, shape = shapes.of(g, names[g])
        plain = kind not in ("mesh", "hfield")
        add(
            document.bodies[int(t.geom_link[g])],
            "geom",
            name=names[g],
            type=kind,
            pos=pos,
            quat=model.geom_quat[g],
            size=model.geom_size[g] if plain else None,
            rgba=t.geom_rgba[g],
            group=t.geom_group[g],
            friction=[model.geom_friction[g], *model.geom_spin_friction[g]],
            margin=model.geom_margin[g] if np.any(model.geom_margin[g]) else None,
            contype=0,
            conaffinity=0,
            **shape,
        )


def write_frames(document: Document) -> None:
    """Sites at the named frames but those of the bodies themselves."""
    model, t = document.model, document.model.topology
    for k, name in enumerate(t.frame_names):
        if name not in t.link_names:
            document.site(
                int(t.frame_link[k]), name, pos=model.frame_pos[k], quat=model.frame_quat[k]
            )


def _carries_on(document: Document, i: int) -> bool:
    """Whether link i is one of several joints of a body, and not the last of them."""
    model, t = document.model, document.model.topology
    j = i + 1
    if j >= t.nl or t.parent[j] != i or t.joint_kind[i] == "free" or np.any(model.link_mass[i]):
        return False
    moved = np.any(model.link_pos[j]) or np.any(np.asarray(model.link_quat[j]) != [1, 0, 0, 0])
    return not moved and not np.any(t.geom_link == i)


def _last(document: Document, i: int) -> int:
    """The last link of the body that link i belongs to."""
    while _carries_on(document, i):
        i += 1
    return i


def _pose(document: Document, i: int) -> dict[str, Any]:
    """Where a body is in its parent's, at rest."""
    model, t = document.model, document.model.topology
    if t.joint_kind[i] in ("free", "mocap"):
        q = np.asarray(model.q_rest)[t.q_start[i] : t.q_start[i + 1]]
        return {"pos": q[:3], "quat": q[3:]}
    return {"pos": model.link_pos[i], "quat": model.link_quat[i]}


def _rest(document: Document, i: int) -> np.ndarray:
    """The rest configuration that the format gives a joint."""
    model, t = document.model, document.model.topology
    match t.joint_kind[i]:
        case "ball":
            return np.array([1.0, 0.0, 0.0, 0.0])
        case "hinge" | "slide":
            return np.asarray(model.joint_ref[i : i + 1])
        case _:
            return np.asarray(model.q_rest)[t.q_start[i] : t.q_start[i + 1]]


def _note_rest(document: Document) -> None:
    t, q = document.model.topology, np.asarray(document.model.q_rest)
    other = [
        t.joint_names[i]
        for i in range(t.nl)
        if not np.array_equal(q[t.q_start[i] : t.q_start[i + 1]], _rest(document, i))
    ]
    if other:
        document.notes.append(f"joints whose rest is not that of the file: {', '.join(other)}")


def _joint(document: Document, i: int, element: Element) -> None:
    model, t = document.model, document.model.topology
    kind, scalar = t.joint_kind[i], t.joint_kind[i] in ("hinge", "slide")
    dofs, places = slice(*t.v_start[i : i + 2]), slice(*t.q_start[i : i + 2])
    limit, force = _row(t.limited, i), _row(t.force_limited_joints, i)
    span: Any = None if limit is None else model.joint_range[limit]
    if kind == "ball" and (ball := _row(t.limited_balls, i)) is not None:
        span = [0.0, model.ball_range[ball]]
    spring = np.asarray(model.spring_ref)[places]
    stiff = bool(np.any(model.joint_stiffness[i]))
    if stiff and not scalar and not np.array_equal(spring, _rest(document, i)):
        raise ModelError(
            f"save_mjcf: joint {t.joint_names[i]} has a spring that is relaxed away from its "
            "rest configuration, which MJCF cannot say of a free or ball joint."
        )
    add(
        element,
        "joint",
        name=document.joints[i],
        type=kind,
        axis=model.joint_axis[i] if scalar else None,
        pos=model.joint_anchor[i] if kind in ("hinge", "ball") else None,
        ref=model.joint_ref[i] if scalar else None,
        stiffness=model.joint_stiffness[i] if stiff else None,
        springref=spring if scalar and stiff else None,
        limited=True if span is not None else None,
        range=span,
        actuatorfrclimited=True if force is not None else None,
        actuatorfrcrange=None if force is None else model.joint_force_range[force],
        **{
            name: _once(t, i, f"dof_{name}", np.asarray(getattr(model, f"dof_{name}"))[dofs])
            for name in ("damping", "armature", "frictionloss")
        },
    )


def _once(topology: Topology, i: int, parameter: str, values: np.ndarray) -> float | None:
    """What all degrees of freedom of a joint have in common."""
    if np.any(values != values[0]):
        raise ModelError(
            f"save_mjcf: {parameter} of joint {topology.joint_names[i]} is {values}: MJCF has one "
            "number a joint. Set all of its degrees of freedom alike."
        )
    return float(values[0]) if values[0] else None


def _row(table: np.ndarray, i: int) -> int | None:
    """Where joint i is in a table of joints."""
    found = np.flatnonzero(table == i)
    return int(found[0]) if len(found) else None


def _inertial(document: Document, i: int, element: Element) -> None:
    model, t = document.model, document.model.topology
    if not np.asarray(model.link_mass)[i] > 0:
        raise ModelError(
            f"save_mjcf: link {t.link_names[i]} has no mass, which MJCF wants of what moves."
        )
    moments, quat = principal(model, i)
    add(
        element,
        "inertial",
        pos=model.link_com[i],
        quat=quat,
        mass=model.link_mass[i],
        diaginertia=moments,
    )


def principal(model: Model, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal moments of a link's inertia (3,), and the quaternion of their axes.

    In a medium those of its box: of bodies with equal moments the axes are not any.
    """
    inertia = np.asarray(model.link_inertia[i], dtype=float)
    moments, axes = np.linalg.eigh(inertia)
    # Of flat bodies the largest moment is the sum of the others, but for rounding.
    rounding = 100.0 * float(np.finfo(model.dtype).eps) * moments.max()
    excess = moments.max() - (moments.sum() - moments.max())
    if not moments.min() > 0 or excess > rounding:
        raise ModelError(
            f"save_mjcf: link {model.topology.link_names[i]} has the moments of inertia {moments}: "
            "MJCF takes positive ones of which two are together at least the third."
        )
    rows = np.flatnonzero(model.topology.fluid_link == i)
    if len(rows):
        box = Rotation.from_quat(np.asarray(model.fluid_quat[rows[0]]), scalar_first=True)
        turned = box.as_matrix().T @ inertia @ box.as_matrix()
        if np.abs(turned - np.diag(np.diag(turned))).max() <= rounding:
            moments, axes = np.diag(turned).copy(), box.as_matrix()
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, axes.ravel())
    most = int(moments.argmax())
    moments[most] = min(moments[most], moments.sum() - moments[most])
    return moments, quat


def name_of(document: Document, link: int) -> str:
    """The name of the body that link belongs to."""
    return "world" if link == WORLD else str(document.bodies[link].get("name"))
