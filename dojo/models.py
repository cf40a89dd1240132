"""The robots that come with the engine: `dojo.models.load("ant")`."""

from pathlib import Path
from typing import Any

from dojo.loaders.load import load as _load
from dojo.model.errors import ModelError, close_matches
from dojo.model.model import Model

# In a wheel beside this file, in a checkout at its root.
_FOLDERS = Path(__file__).parent / "library", Path(__file__).parents[1] / "models"


def path(name: str) -> Path:
    """The file of a robot.

    Raises:
        ModelError: no such robot; names those that are close.
    """
    files = _files()
    if name not in files:
        raise ModelError(
            f"dojo.models: no robot {name!r}.{close_matches(name, files)} There are: "
            f"{', '.join(files)}."
        )
    return files[name]


def names() -> tuple[str, ...]:
    """The names of all robots."""
    return tuple(_files())


def load(name: str, **options: Any) -> Model:
    """Load a robot by its name; `options` are those of `dojo.load`.

    Raises:
        ModelError: no such robot; names those that are close.
    """
    return _load(path(name), **options)


def _files() -> dict[str, Path]:
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    files = [file for kind in ("*.xml", "*.urdf") for file in folder.glob(kind)]
    return {file.stem: file for file in sorted(files) if not file.name.startswith(".")}
