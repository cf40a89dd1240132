"""Gaps, contact points and frames of the contact candidates.

A candidate is a feature of a convex geom against a plane fixed in the world: a centre that moves
with the link, and a support radius rho(m) with m the plane's normal in the geom's axes,

    gap = n . centre - offset - rho(m),     touching point = centre - R grad rho(m).

Spheres, capsules, corners: rho constant. Ellipsoid: |diag(size) m|. Disc (rim of a cylinder):
r |m_xy|, blunted within BLUNT radians of standing flat, where the four rim corners bear instead.
The gap is exact at any pose, but for that blunting (under 1e-3 of the radius).
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import contract, cross, dot, matmat, matvec, matvec_t, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup, Topology
from dojo.physics.kinematics import Frames

BLUNT = 0.01


class Candidates(NamedTuple):
    """Contact candidates with everything that is constant over a step."""

    center: Array  # (3, nc) [m] in the link frame
    radius: Array  # (nc,) [m] of constant supports
    size: Array  # (3, nc) [m] of the geom
    rot: Array  # (3, 3, nc) geom in link
    normal: Array  # (3, nc) of the plane, world
    frame: Array  # (3, 3, nc) columns n, t1, t2, world
    offset: Array  # (nc,) [m] of the plane along its normal
    friction: Array  # (nc_friction,)


class Touch(NamedTuple):
    """Candidates at one pose."""

    gap: Array  # (nc,) [m]
    point: Array  # (3, nc) touching point of the convex geom, world


def candidates(model: Model) -> Candidates:
    """Evaluate the features with the model's geometry."""
    groups = model.topology.contacts
    geom = _joined(groups, "geom")
    plane = _joined(groups, "plane")
    size = model.geom_size[geom].T
    rot = rotations.to_matrix(rotations.normalize(model.geom_quat[geom].T))
    plane_rot = rotations.to_matrix(rotations.normalize(model.geom_quat[plane].T))
    normal = plane_rot[:, 2]
    center_map = jnp.asarray(np.moveaxis(_joined(groups, "center_map"), 0, -1), model.dtype)
    radius_map = jnp.asarray(_joined(groups, "radius_map").T, model.dtype)
    local = matvec(center_map, size) + _vertices(model, _joined(groups, "vertex"))
    return Candidates(
        center=model.geom_pos[geom].T + matvec(rot, local),
        radius=dot(radius_map, size),
        size=size,
        rot=rot,
        normal=normal,
        frame=jnp.stack([normal, plane_rot[:, 0], plane_rot[:, 1]], axis=1),
        offset=dot(normal, model.geom_pos[plane].T),
        friction=_friction(model, groups),
    )


def _joined(groups: tuple[ContactGroup, ...], field: str) -> np.ndarray:
    empty = {"center_map": np.zeros((0, 3, 3)), "radius_map": np.zeros((0, 3))}
    start = empty.get(field, np.zeros(0, dtype=int))
    return np.concatenate([start, *[getattr(g, field) for g in groups]])


def contact_links(model: Model) -> np.ndarray:
    """Link of the convex body of each candidate, (nc,)."""
    return model.topology.geom_link[_joined(model.topology.contacts, "geom")]


def _vertices(model: Model, row: np.ndarray) -> Array:
    if not len(model.mesh_vertices):
        return jnp.zeros((3, len(row)), model.dtype)
    return jnp.where(row >= 0, model.mesh_vertices[np.maximum(row, 0)].T, 0.0)


def _friction(model: Model, groups: tuple[ContactGroup, ...]) -> Array:
    """Coefficients after MuJoCo's combination rule; floored, the cone needs an interior."""
    groups = tuple(g for g in groups if g.frictional)
    plane = model.geom_friction[_joined(groups, "plane")]
    body = model.geom_friction[_joined(groups, "geom")]
    rule, pair = _joined(groups, "friction_rule"), _joined(groups, "pair")
    mu = jnp.where(rule == 0, jnp.maximum(plane, body), jnp.where(rule == 1, plane, body))
    if len(model.pair_friction):
        mu = jnp.where(pair >= 0, model.pair_friction[np.maximum(pair, 0)], mu)
    return jnp.maximum(mu, 1e-8)


def touch(model: Model, c: Candidates, frames: Frames) -> Touch:
    """Gaps and touching points at these link poses."""
    link = contact_links(model)
    rot = frames.rot[:, :, link]
    center = frames.pos[:, link] + matvec(rot, c.center)
    radius, arm = _supports(model, c, rot)
    gap = dot(c.normal, center) - c.offset - radius
    return Touch(gap, center - arm)


def _supports(model: Model, c: Candidates, rot: Array) -> tuple[Array, Array]:
    """Support radius (nc,) and its gradient in the world (3, nc), kind by kind."""
    radii, arms = [], []
    start = 0
    for group in model.topology.contacts:
        part = slice(start, start + len(group))
        start += len(group)
        if group.kind == "point":
            radii.append(c.radius[part])
            arms.append(c.radius[part] * c.normal[:, part])
            continue
        axes = matmat(rot[:, :, part], c.rot[:, :, part])
        local = matvec_t(axes, c.normal[:, part])
        support = _ellipsoid if group.kind == "ellipsoid" else _disc
        radius, gradient = support(c.size[:, part], local)
        radii.append(radius)
        arms.append(matvec(axes, gradient))
    zero = jnp.zeros((0,), model.dtype)
    return jnp.concatenate([zero, *radii]), jnp.concatenate([zero[None].repeat(3, 0), *arms], 1)


def _ellipsoid(size: Array, m: Array) -> tuple[Array, Array]:
    radius = safe_norm(size * m)
    return radius, size * size * m / radius


def _disc(size: Array, m: Array) -> tuple[Array, Array]:
    """r g(s), s = |m_xy|: g(s) = s beyond BLUNT, within it b (3 t^2 - 3 t^3 + t^4), t = s / b."""
    s = safe_norm(m[:2])
    t = jnp.minimum(s / BLUNT, 1.0)
    blunt = t < 1
    value = jnp.where(blunt, BLUNT * t * t * (3 - 3 * t + t * t), s)
    slope_over_s = jnp.where(blunt, (6 - 9 * t + 4 * t * t) / BLUNT, 1.0 / jnp.where(blunt, 1.0, s))
    flat = jnp.concatenate([m[:2], jnp.zeros_like(m[:1])])
    return size[0] * value, size[0] * slope_over_s * flat


def contact_points(c: Candidates, at: Touch) -> Array:
    """Midpoints between the two surfaces, (3, nc): where impulses act."""
    return at.point - 0.5 * at.gap * c.normal


def screws(point: Array, direction: Array) -> Array:
    """World wrenches (6, ...) of unit forces along `direction` at `point`, about the origin."""
    return jnp.concatenate([cross(point, direction), direction])


def at_contacts(model: Model, per_link: Array) -> Array:
    """Values (..., nl) of links at the candidates of their geoms, (..., nc)."""
    return per_link[..., contact_links(model)]


def by_link(model: Model, per_contact: Array) -> Array:
    """Sums (..., nl) over the candidates of each link; the first ones, if not all are given."""
    shape = per_contact.shape[:-1]
    flat = per_contact.reshape(math.prod(shape), per_contact.shape[-1])
    table = jnp.asarray(_link_table(model.topology)[: flat.shape[-1]], per_contact.dtype)
    return contract(flat, table).reshape(*shape, model.topology.nl)


@functools.lru_cache(maxsize=64)
def _link_table(topology: Topology) -> np.ndarray:
    """One-hot (nc, nl): the link of each candidate, none for geoms fixed in the world."""
    geom = _joined(topology.contacts, "geom")
    return (topology.geom_link[geom][:, None] == np.arange(topology.nl)).astype(float)
