"""Pairs of geoms that may touch: which take part in a step, where they are, how they touch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import SMALL, at_least, cross, dot, matvec, matvec_t, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics.kinematics import Frames, geom_frames

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


class Ground(NamedTuple):
    """Triangles of height fields, in the frames of these."""

    middle: Array  # (3, k) [m]
    corners: Array  # (3, 3, k) from there, counter-clockwise as seen from above


class Pairs(NamedTuple):
    """Fields of `ContactGroup`, of the entries that take part: (k, ...)."""

    first: Table
    second: Table
    center_map: Table
    radius_map: Table
    friction_rule: Table
    pair: Table
    ground: Ground | None = None  # of height fields: what stands for the first geom

    @classmethod
    def of(
        cls, group: ContactGroup, chosen: Array | None = None, ground: Ground | None = None
    ) -> "Pairs":
        """Entries (k,) of a group, all of them if None, and their ground."""
        tables = [getattr(group, field) for field in cls._fields[:-1]]
        some: list[Any] = [x if chosen is None else jnp.asarray(x)[chosen] for x in tables]
        return cls(*some)._replace(ground=ground)

    @property
    def sides(self) -> tuple[Table, Table]:
        """The first and the second geoms."""
        return self.first, self.second


def placed(model: Model, pairs: Pairs, bodies: Bodies) -> tuple[Frames, Frames]:
    """Where the first and the second geoms are; of height fields, their triangles."""
    sides = zip(pairs.sides, bodies, strict=True)
    one, two = (geom_frames(model, frames, geoms) for geoms, frames in sides)
    if pairs.ground is not None:
        one = Frames.of(one.rot, one.pos + matvec(one.rot, pairs.ground.middle))
    return one, two


def margins(model: Model, first: Table, second: Table, pair: Table) -> Array:
    """Distances (n,) [m] that pairs keep: that of an explicit pair, else the sum of both geoms."""
    margin = model.geom_margin[first] + model.geom_margin[second]
    if not len(model.pair_margin):
        return margin
    return jnp.where(pair >= 0, model.pair_margin[pair * (pair >= 0)], margin)


def not_beyond_reach(bound: Array, first: Array, second: Array, found: Touch) -> Touch:
    """Touches (..., k, n) with the gap of the spheres round geoms, where these are further apart.

    The spheres have centres (3, n) and radii `bound` (2, n).

    The normal of two geoms far from each other sweeps through the space between them as one of them
    turns. No turn can make them touch while the spheres round them do not.
    """
    off = second - first
    distance = safe_norm(off)
    least = distance - bound[0] - bound[1]
    apart = least > found.gap
    way = (off / at_least(distance, SMALL))[:, None]
    on_sphere = second[:, None] - bound[1] * way
    return Touch(
        jnp.where(apart, least, found.gap),
        jnp.where(apart, on_sphere, found.point),
        jnp.where(apart, way, found.normal),
    )


def outwards(pose: Frames, x: Array) -> Array:
    """Vectors (3, k, n) of the geoms' frames in the world."""
    return matvec(pose.rot[:, :, None], x)


def inwards(pose: Frames, x: Array) -> Array:
    """Vectors (3, k, n) of the world in the geoms' frames."""
    return matvec_t(pose.rot[:, :, None], x)


def rows_of(found: Touch) -> Touch:
    """Touches (..., k, n) as those of candidates, the k of a pair one after the other."""
    return Touch(*(jnp.moveaxis(x, -2, -1).reshape(*x.shape[:-2], -1) for x in found))


def tangent_frame(normal: Array) -> Array:
    """Columns n, t1, t2 for normals (3, n), as MuJoCo chooses them: (3, 3, n)."""
    upright = jnp.abs(normal[1]) < 0.5
    one, zero = jnp.ones_like(normal[0]), jnp.zeros_like(normal[0])
    guide = jnp.where(upright, jnp.stack([zero, one, zero]), jnp.stack([zero, zero, one]))
    t1 = guide - normal * dot(normal, guide)
    t1 = t1 / jnp.sqrt(at_least(dot(t1, t1), 0.1))
    return jnp.stack([normal, t1, cross(normal, t1)], axis=1)


def one_table(tables: Sequence[Table]) -> Table:
    """One table of several, constant if all of them are."""
    if all(isinstance(table, np.ndarray) for table in tables):
        return np.concatenate(tables)
    return jnp.concatenate([jnp.asarray(table) for table in tables])
