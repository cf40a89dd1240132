"""Spatial inertia, the mass matrix, and the bias force.

The composite-body algorithm (Featherstone, Rigid Body Dynamics Algorithms, section 6.2) written
with ancestor masks instead of recursion: a bilinear form of link blocks,

    H[j, l] = sum over links i moved by both j and l of  left_j^T B_i right_l,

needs only the composite block of whichever of j, l is further down the tree.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.spatial import force_cross, motion_cross
from dojo.math.vectors import (
    add_diagonal,
    contract,
    cross,
    dot,
    eye,
    matmat,
    matvec,
    outer,
    skew,
    solve_positive,
    total,
    transpose,
)
from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.model.topology import Topology
from dojo.physics.kinematics import (
    Frames,
    link_frames,
    link_twists,
    local_maps,
    motion_axes,
    turning,
)

# A mass matrix is taken tree by tree from this many times the largest tree on.
_MANY = 4


class Blocks(NamedTuple):
    """6 x 6 matrices [[turn, [right]], [-[left], mass I]] about the world origin, one a column."""

    turn: Array  # (3, 3, n)
    right: Array  # (3, n) as a cross-product matrix in the upper right corner
    left: Array  # (3, n) likewise in the lower left
    mass: Array  # (n,)

    def times(self, twist: Array) -> Array:
        """B s for twists (6, n)."""
        w, v = twist[:3], twist[3:]
        return jnp.concatenate(
            [matvec(self.turn, w) + cross(self.right, v), self.mass * v - cross(self.left, w)]
        )

    def transposed(self) -> "Blocks":
        """B^T."""
        return Blocks(transpose(self.turn), self.left, self.right, self.mass)

    def full(self) -> Array:
        """The matrices written out, (6, 6, n)."""
        upper = jnp.concatenate([self.turn, skew(self.right)], axis=1)
        lower = jnp.concatenate(
            [-skew(self.left), self.mass * eye(self.mass.dtype, 3)[:, :, None]], axis=1
        )
        return jnp.concatenate([upper, lower])


class Masks(NamedTuple):
    """Which degrees of freedom share links: (nv, nv)."""

    down: np.ndarray  # [j, l]: l's link is j's or below it
    up: np.ndarray  # [j, l]: j's link is strictly below l's


@functools.lru_cache(maxsize=64)
def tree_masks(topology: Topology) -> Masks:
    """The masks of a topology."""
    link = topology.dof_link
    below = topology.ancestor[link][:, link]  # [j, l]: l's link is j's or above it
    return Masks(down=below.T, up=below & ~below.T)


def joint_space(model: Model, blocks: Blocks | Array, left: Array, right: Array) -> Array:
    """H[j, l] = sum_i left_j^T B_i right_l over the links moved by both: (nv, nv).

    blocks: of the links, or any matrices (6, 6, nl); left, right: twists (6, nv).
    """
    masks = tree_masks(model.topology)
    if isinstance(blocks, Blocks):
        composite = _composite(model, blocks)
        forward, backward = composite.times(right), composite.transposed().times(left)
    else:
        matrices = _moved(model, blocks.reshape(36, -1)).reshape(6, 6, -1)
        forward = total(matrices * right, axis=1)
        backward = total(matrices * left[:, None], axis=0)
    return contract(left.T, forward) * masks.down + contract(backward.T, right) * masks.up


def _composite(model: Model, blocks: Blocks) -> Blocks:
    """Sums of the blocks of the links that each degree of freedom moves."""
    turn, sides = blocks.turn.reshape(9, -1), (blocks.right, blocks.left, blocks.mass[None])
    sums = _moved(model, jnp.concatenate([turn, *sides]))
    return Blocks(sums[:9].reshape(3, 3, -1), sums[9:12], sums[12:15], sums[15])


def _moved(model: Model, values: Array) -> Array:
    """Sums of the values (k, nl) of the links that each degree of freedom moves: (k, nv)."""
    return contract(values, jnp.asarray(model.topology.moves[:-1], model.dtype))


def centers_of_mass(model: Model, frames: Frames) -> Array:
    """World centres of mass of the links, (3, nl)."""
    return frames.pos + matvec(frames.rot, model.link_com.T)


def link_inertia(model: Model) -> Array:
    """Rotational inertia in link axes, (3, 3, nl), symmetric by construction."""
    inertia = jnp.moveaxis(model.link_inertia, 0, -1)
    return 0.5 * (inertia + transpose(inertia))


def shifted(turn: Array, mass: Array, center: Array, moved: Array) -> Blocks:
    """Blocks of momentum about the origin, from `turn` about the centre.

    For a link with its centre now at `center` and then at `moved`; equal ones give its inertia.
    """
    unit = eye(mass.dtype, 3)[:, :, None]
    steiner = mass * (dot(center, moved) * unit - outer(moved, center))
    return Blocks(turn + steiner, mass * center, mass * moved, mass)


def spatial_inertia(model: Model, frames: Frames) -> Blocks:
    """Spatial inertia of the links about the world origin."""
    center = centers_of_mass(model, frames)
    turn = matmat(matmat(frames.rot, link_inertia(model)), transpose(frames.rot))
    return shifted(turn, model.link_mass, center, center)


def mass_matrix_at(model: Model, frames: Frames, axes: Array) -> Array:
    """Joint-space inertia with armature, (nv, nv)."""
    composite = _composite(model, spatial_inertia(model, frames))
    masks = tree_masks(model.topology)
    half = contract(axes.T, composite.times(axes))
    return add_diagonal(half * masks.down + half.T * masks.up, model.dof_armature)


def solve_mass(model: Model, matrix: Array, rhs: Array) -> Array:
    """Solution (nv, ...) of `matrix @ x = rhs`; the matrix couples what the mass matrix does."""
    table = _dofs_of_trees(model.topology)
    if table is None:
        return solve_positive(matrix, rhs)
    own = rhs.at[table].get(mode="fill", fill_value=0.0)
    x = jax.vmap(solve_positive)(tree_blocks(model, matrix), own)
    return jnp.zeros_like(rhs).at[table].set(x, mode="drop")


def tree_blocks(model: Model, matrix: Array) -> Array:
    """All of a matrix that couples what the mass matrix does, (trees, k, k); 1 for what is none.

    Trees do not move each other. Of a few trees, the whole matrix (1, nv, nv).
    """
    table = _dofs_of_trees(model.topology)
    if table is None:
        return matrix[None]
    blocks = matrix.at[table[:, :, None], table[:, None]].get(mode="fill", fill_value=0.0)
    none = np.eye(table.shape[1]) * (table == model.nv)[:, None]
    return blocks + jnp.asarray(none, matrix.dtype)


@functools.lru_cache(maxsize=64)
def _dofs_of_trees(topology: Topology) -> np.ndarray | None:
    """Degrees of freedom of each tree, nv where there are no more: (trees, k). None for a few."""
    nv = topology.moves.shape[1]
    root = topology.ancestor[:-1].argmax(axis=1)[topology.dof_link]
    if any(len(np.unique(root[dofs])) > 1 for dofs in topology.tendon_dofs):
        return None  # their drag couples trees
    trees = [np.flatnonzero(root == link) for link in np.unique(root)]
    most = max(map(len, trees), default=0)
    if nv < _MANY * most or not most:
        return None
    return np.array([np.pad(tree, (0, most - len(tree)), constant_values=nv) for tree in trees])


def mass_matrix(model: Model, q: Array) -> Array:
    """Joint-space inertia matrix M(q), armature included: (nv, nv) [kg, kg m, kg m2].

    q: (nq,). The same matrix as MuJoCo's mj_fullM.
    """
    return _mass_matrix(model, normalize_configuration(model, jnp.asarray(q)))


@functools.partial(jax.jit, inline=True)
def _mass_matrix(model: Model, q: Array) -> Array:
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    return mass_matrix_at(model, frames, motion_axes(model, maps, frames))


def bias_force(model: Model, state: State) -> Array:
    """Coriolis, centrifugal and gravity force c(q, v), (nv,) [N, N m]: MuJoCo's qfrc_bias.

    M a + c = applied forces. Recursive Newton-Euler with zero acceleration.
    """
    return _bias_force(model, normalize_configuration(model, state.q), jnp.asarray(state.v))


@functools.partial(jax.jit, inline=True)
def _bias_force(model: Model, q: Array, v: Array) -> Array:
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    axes = motion_axes(model, maps, frames)
    twist = link_twists(model, axes, v)
    rate = motion_cross(twist[:, model.topology.dof_link], axes) * turning(model)
    acceleration = link_twists(model, rate, v)
    lift = contract(eye(model.dtype, 6, 3, -3), model.gravity)[:, None]
    acceleration = acceleration - lift
    inertia = spatial_inertia(model, frames)
    force = inertia.times(acceleration) + force_cross(twist, inertia.times(twist))
    return joint_forces(model, axes, force)


def joint_forces(model: Model, axes: Array, wrench: Array) -> Array:
    """sum_i J_i^T w_i for world wrenches (6, nl) about the origin: (nv,)."""
    moves = jnp.asarray(model.topology.moves[:-1], model.dtype)
    return total(axes * contract(wrench, moves), axis=0)


def work_of(model: Model, links: np.ndarray, wrench: Array, axes: Array) -> Array:
    """J_i^T w for a wrench (6, k) each on its link i of `links`, -1 the world: (nv, k)."""
    moved = jnp.asarray(model.topology.moves[links].T, model.dtype)
    return contract(axes.T, wrench) * moved
