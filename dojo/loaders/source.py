"""Compile a file or a string with MuJoCo; every failure becomes a ModelError."""

import os
from pathlib import Path

import mujoco

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
    "Error opening file": "check the path of the mesh or include, relative to the model file",
    "XML_ERROR": "the XML is malformed at the place named",
    "XML parse error": "the XML is malformed at the place named",
    "unrecognized": "the element or attribute is not in the schema; check its spelling",
    "Schema violation": "the element or attribute is not allowed there; check its spelling",
}


def compile_source(source: str | os.PathLike[str]) -> tuple[mujoco.MjModel, str]:
    """MuJoCo's compiled model, and a name for messages.

    Raises:
        ModelError: missing file, malformed XML, or whatever MuJoCo's compiler refuses.
    """
    text = os.fspath(source)
    if text.lstrip().startswith("<"):
        name = "<XML string>"
        try:
            return mujoco.MjModel.from_xml_string(text), name
        except (ValueError, RuntimeError, mujoco.FatalError) as error:
            raise _explained(name, error) from None
    path = Path(text)
    if not path.is_file():
        kind = "is a folder, not a model file" if path.is_dir() else "no such file"
        raise ModelError(
            f"{path}: {kind} (working directory {Path.cwd()}). Give the path of an MJCF or URDF "
            "file, or its XML as a string."
        )
    try:
        return mujoco.MjModel.from_xml_path(str(path)), str(path)
    except (ValueError, RuntimeError, mujoco.FatalError) as error:
        raise _explained(str(path), error) from None


def source_text(source: str | os.PathLike[str]) -> str:
    """The XML of a path or string that compiled."""
    text = os.fspath(source)
    return text if text.lstrip().startswith("<") else Path(text).read_text(errors="replace")


def _explained(name: str, error: Exception) -> ModelError:
    text = " ".join(str(error).split()) or type(error).__name__
    for sign, remedy in _REMEDIES.items():
        if sign.lower() in text.lower():
            return ModelError(f"{name}: {text}. Remedy: {remedy}.")
    return ModelError(f"{name}: {text}. The message is that of MuJoCo's compiler.")
