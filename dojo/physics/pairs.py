"""Pairs of geoms that may touch: which take part in a step, where they are, how they touch."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.topology import ContactGroup
from dojo.physics.kinematics import Frames

# Constant where all entries take part, else found at the start of the step.
Table = np.ndarray | Array
# Gap of a candidate that stands for nothing at present [m]: too far to act. Its normal is zero.
IDLE = 10.0


class Touch(NamedTuple):
    """Candidates at one pose."""

    gap: Array  # (nc,) [m]
    point: Array  # (3, nc) touching point of the second body, world
    normal: Array  # (3, nc) from the first body to the second


class Bodies(NamedTuple):
    """Link poses that the first and the second geoms of the candidates take part with."""

    first: Frames
    second: Frames


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


def one_table(tables: Sequence[Table]) -> Table:
    """One table of several, constant if all of them are."""
    if all(isinstance(table, np.ndarray) for table in tables):
        return np.concatenate(tables)
    return jnp.concatenate([jnp.asarray(table) for table in tables])
