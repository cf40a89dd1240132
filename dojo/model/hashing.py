"""Equality and hash by content, of what holds numpy arrays."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np


def _feed(digest: Any, value: Any) -> None:
    """Add a value's content to a digest; pickles would differ between equal copies."""
    if isinstance(value, ContentHashed):
        digest.update(value._digest)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple):
        digest.update(f"({len(value)}".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(repr(value).encode())


class ContentHashed:
    """Equality and hash by content, for dataclasses that hold numpy arrays."""

    @functools.cached_property
    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _feed(digest, getattr(self, field.name))
        return digest.digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._digest == other._digest
