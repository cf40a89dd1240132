"""Errors of a model or of its inputs."""

import difflib
from collections.abc import Iterable


class ModelError(ValueError):
    """Something is wrong in a model file: names the file, the element and the remedy."""


class UnsupportedFeature(ModelError):
    """The file uses something that the engine does not simulate yet."""


def close_matches(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelled name, empty when nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(repr(m) for m in matches)}?" if matches else ""
