"""Pairs of geoms that may touch: the entries of a contact group that take part in a step."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.topology import ContactGroup

# Constant where all entries take part, else found at the start of the step.
Table = np.ndarray | Array


class Pairs(NamedTuple):
    """Fields of `ContactGroup`, of the entries that take part: (k, ...)."""

    first: Table
    second: Table
    center_map: Table
    radius_map: Table
    friction_rule: Table
    pair: Table

    @classmethod
    def of(cls, group: ContactGroup, chosen: Array | None = None) -> "Pairs":
        """Entries (k,) of a group, all of them if None."""
        tables = [getattr(group, field) for field in cls._fields]
        return cls(*(x if chosen is None else jnp.asarray(x)[chosen] for x in tables))

    @property
    def sides(self) -> tuple[Table, Table]:
        """The first and the second geoms."""
        return self.first, self.second


def joined(tables: Sequence[Table]) -> Table:
    """One table of several, constant if all of them are."""
    if all(isinstance(table, np.ndarray) for table in tables):
        return np.concatenate(tables)
    return jnp.concatenate([jnp.asarray(table) for table in tables])
