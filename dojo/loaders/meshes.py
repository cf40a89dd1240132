"""Mesh files in formats that MuJoCo's compiler reads."""

import re
from pathlib import Path

import trimesh

from dojo.model.errors import ModelError

_UNIT = re.compile(rb"<unit\b[^>]*\bmeter=[\"']([0-9.eE+-]+)[\"']")
_NATIVE = (".obj", ".stl", ".msh")


def readable(path: Path, name: str) -> tuple[bytes, str]:
    """The data of a mesh file, converted to OBJ unless the compiler reads it, and their suffix.

    Raises:
        ModelError: the file holds no mesh, or its format needs a package that is not there.
    """
    data, suffix = path.read_bytes(), path.suffix.lower()
    if suffix in _NATIVE and not (suffix == ".stl" and _is_text(data)):
        return data, suffix
    try:
        mesh = trimesh.load(path, force="mesh")
    except ImportError as error:
        raise ModelError(
            f"{name}: {suffix} files need a package that is not installed ({error}): "
            "pip install 'dojo-sim[meshes]'."
        ) from None
    except Exception as error:
        # trimesh's readers raise what their formats' parsers raise.
        raise ModelError(f"{name}: cannot be read: {error}.") from None
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise ModelError(f"{name}: holds no triangles.")
    if suffix == ".dae":
        mesh.apply_scale(_unit(data))
    text = mesh.export(file_type="obj", include_normals=False, include_texture=False)
    return str(text).encode(), ".obj"


def _unit(data: bytes) -> float:
    """Metres of a Collada file's unit, which trimesh does not apply."""
    unit = _UNIT.search(data)
    return float(unit[1]) if unit else 1.0


def _is_text(data: bytes) -> bool:
    """Whether STL data are the format's ASCII variant: a binary file may begin with its word."""
    faces = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    return data[:5].lower() == b"solid" and len(data) != 84 + 50 * faces
