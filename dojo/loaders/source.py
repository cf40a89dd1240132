"""Read and compile a file or a string with MuJoCo; every failure becomes a ModelError."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import mujoco

from dojo.loaders.findings import Findings
from dojo.loaders.motors import Motor
from dojo.loaders.urdf import Asked, is_urdf, prepared
from dojo.model.errors import ModelError

_REMEDIES = {
    "mass and inertia of moving bodies": (
        "give the body an <inertial> or its geoms a mass or density; a body that must not move "
        "needs no joint"
    ),
    "inertia must satisfy": (
        "the inertia is impossible (A + B >= C fails): correct it, or let the compiler derive it "
        "with <compiler inertiafromgeom='true'/>"
    ),
    "mesh volume is too small": (
        "scale the mesh up, or leave it out of <collision>; in MJCF also <mesh inertia='shell'/>"
    ),
    "Error opening file": "check the path of the mesh or include, relative to the model file",
    "XML_ERROR": "the XML is malformed at the place named",
    "XML parse error": "the XML is malformed at the place named",
    "unrecognized": "the element or attribute is not in the schema; check its spelling",
    "Schema violation": "the element or attribute is not allowed there; check its spelling",
}


# A path, the XML itself, or what MuJoCo edits models in.
Source: TypeAlias = str | os.PathLike[str] | mujoco.MjSpec


def read_source(source: Source, asked: Asked, found: Findings) -> tuple[mujoco.MjSpec, str]:
    """MuJoCo's editable form of a model, and a name for messages.

    Raises:
        ModelError: missing file, malformed XML.
        ValueError: something is asked for that only URDFs have.
    """
    if asked.root not in (None, "fixed", "floating"):
        raise ValueError(f"load(root={asked.root!r}): must be 'fixed', 'floating' or None.")
    if isinstance(source, mujoco.MjSpec):
        _check_no_urdf(asked)
        # The caller's own stays as it is.
        return source.copy(), "<MjSpec>"
    text, path, name = _named(source)
    if is_urdf(text):
        folder = Path.cwd() if path is None else path.parent
        return _from_urdf(text, folder, name, asked, found), name
    _check_no_urdf(asked)
    with explaining(name):
        if path is None:
            return mujoco.MjSpec.from_string(text), name
        return mujoco.MjSpec.from_file(str(path)), name


def _named(source: str | os.PathLike[str]) -> tuple[str, Path | None, str]:
    """The XML, the path if it is one's, and a name for messages."""
    text = os.fspath(source)
    if _is_xml(text):
        return source_text(source), None, "<XML string>"
    path = Path(text)
    if not os.path.isfile(path):
        kind = "is a folder, not a model file" if os.path.isdir(path) else "no such file"
        raise ModelError(
            f"{path}: {kind} (working directory {Path.cwd()}). Give the path of an MJCF or URDF "
            "file, or its XML as a string."
        )
    return source_text(source), path, str(path)


def _is_xml(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _check_no_urdf(asked: Asked) -> None:
    if asked.root is not None:
        raise ValueError(
            f"load(root={asked.root!r}): is for URDF files. In MJCF a <freejoint/> lets a body "
            "float."
        )
    if asked.motors:
        raise ValueError("load(motors=True): is for URDF files. MJCF has <actuator>.")
    if asked.repair_inertia:
        raise ValueError(
            "load(repair_inertia=True): is for URDF files. MJCF has "
            "<compiler inertiafromgeom='true'/>."
        )


def _from_urdf(text: str, folder: Path, name: str, asked: Asked, found: Findings) -> mujoco.MjSpec:
    urdf = prepared(text, folder, name, asked, found)
    with explaining(name):
        spec = mujoco.MjSpec.from_string(urdf.text, assets=urdf.assets)
        for motor in urdf.motors:
            _add_motor(spec, motor)
    return spec


def _add_motor(spec: mujoco.MjSpec, motor: Motor) -> None:
    actuator = spec.add_actuator(name=motor.name, target=motor.joint)
    actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
    actuator.gear[0] = motor.gear
    actuator.gainprm[0] = 1.0
    if motor.largest > 0:
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.ctrlrange = [-motor.largest, motor.largest]


def compiled(spec: mujoco.MjSpec, name: str) -> mujoco.MjModel:
    """What MuJoCo's compiler makes of it.

    Raises:
        ModelError: whatever the compiler refuses.
    """
    with explaining(name), warnings.catch_warnings():
        # It also tries a step of MuJoCo's, and warns of what that met.
        warnings.simplefilter("ignore")
        m = spec.compile()
    try:
        bytes(m.names).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{name}: a name is not UTF-8 ({error}). Save the file as UTF-8."
        ) from None
    return m


@contextlib.contextmanager
def explaining(name: str) -> Iterator[None]:
    """What MuJoCo refuses, as a ModelError."""
    try:
        yield
    except (ValueError, RuntimeError, mujoco.FatalError) as error:
        raise _explained(name, error) from None


def source_text(source: Source) -> str:
    """The XML of a path or string; empty where there is none."""
    if isinstance(source, mujoco.MjSpec):
        return ""
    text = os.fspath(source)
    if not _is_xml(text):
        data = Path(text).read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return text.lstrip("\ufeff")


def _explained(name: str, error: Exception) -> ModelError:
    text = " ".join(str(error).split()) or type(error).__name__
    for sign, remedy in _REMEDIES.items():
        if sign.lower() in text.lower():
            return ModelError(f"{name}: {text}. Remedy: {remedy}.")
    return ModelError(f"{name}: {text}. The message is that of MuJoCo's compiler.")
