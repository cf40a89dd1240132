"""Models on disk: everything that makes one up, in a file of arrays and a description of them.

The file is a numpy archive without pickled objects: nothing in it is executed when it is read. One
of its members is JSON, which names the dataclasses of the topology and their fields; arrays are
members of their own.
"""

import dataclasses
import json
import os
import zipfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from dojo.model import sensor, topology
from dojo.model.errors import ModelError
from dojo.model.model import Model, check_values, parameter_names
from dojo.model.topology import Topology

# Raised whenever a file of before can no longer be read.
FORMAT = 2
_DESCRIPTION = "description"
# What reading a damaged archive may raise.
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
_KNOWN = {
    name: kind
    for name, kind in {**vars(topology), **vars(sensor)}.items()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type)
}


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, its parameters included; `load_model` reads it.

    Args:
        model: the robot, e.g. with identified parameters.
        path: of the file, usually ending in .dojo; overwritten.
    """
    arrays: dict[str, Any] = {
        f"model/{name}": np.asarray(getattr(model, name)) for name in parameter_names()
    }
    table = _encoded(model.topology, arrays)
    description = json.dumps({"format": FORMAT, "topology": table})
    arrays[_DESCRIPTION] = np.array(description)
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_model(path: str | os.PathLike[str], dtype: DTypeLike | None = None) -> Model:
    """Read a model that `save` wrote: the same parameters and structure.

    Args:
        path: of the file.
        dtype: float32 or float64; default: what it was saved in.

    Raises:
        ModelError: the file is missing, is no saved model, or one of another version of dojo; its
            precision is not enabled.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(name), np.load(name, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        description = dict(json.loads(str(arrays.pop(_DESCRIPTION))))
    except FileNotFoundError:
        raise ModelError(f"{name}: no such file. dojo.save writes one.") from None
    except OSError as error:
        raise ModelError(f"{name}: cannot be read: {error}.") from None
    except _DAMAGED:
        raise ModelError(
            f"{name}: is no saved model. dojo.load reads MJCF and URDF files."
        ) from None
    if description.get("format") != FORMAT:
        raise ModelError(
            f"{name}: has format {description.get('format')}, this version of dojo reads {FORMAT}. "
            "Load the robot's file again, and save it."
        )
    try:
        return _restored(description, arrays, dtype)
    except (KeyError, TypeError, ValueError, AttributeError, ModelError) as error:
        raise ModelError(
            f"{name}: cannot be used here ({error}). Where that is for another version of dojo, "
            "load the robot's file again, and save it."
        ) from None


def _restored(
    description: dict[str, Any], arrays: dict[str, np.ndarray], dtype: DTypeLike | None
) -> Model:
    table = _decoded(description["topology"], arrays)
    if not isinstance(table, Topology):
        raise ValueError("it describes no topology")
    kind = np.dtype(arrays["model/link_mass"].dtype if dtype is None else dtype)
    if jax.dtypes.canonicalize_dtype(kind) != kind:
        raise ValueError(
            f"it is in {kind.name}: switch on jax_enable_x64, or load_model(..., dtype='float32')"
        )
    parameters = {}
    for name in parameter_names():
        values = arrays[f"model/{name}"]
        check_values(name, values)
        parameters[name] = jnp.asarray(values, kind)
    return Model(topology=table, **parameters)


def _encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; arrays go to `arrays`, and their names stand for them."""
    if isinstance(value, np.ndarray):
        key = f"topology/{len(arrays)}"
        arrays[key] = value
        return {"array": key}
    if dataclasses.is_dataclass(value):
        fields = {
            field.name: _encoded(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return [_encoded(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    fields = {name: _decoded(item, arrays) for name, item in value["fields"].items()}
    return _KNOWN[value["class"]](**fields)
