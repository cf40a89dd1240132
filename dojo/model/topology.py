"""The static half of a model: structure, names and tables known at load.

A topology is hashable by content, so that equal structures share one compilation.
"""

import dataclasses
import functools
from typing import Any, Literal

import numpy as np

from dojo.model.hashing import ContentHashed
from dojo.model.sensor import Sensor

# The links of kind "mocap" come last: they go where they are told, nothing moves them.
JointKind = Literal["free", "ball", "hinge", "slide", "mocap"]
GeomKind = Literal["plane", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh", "hfield"]
# Features of a convex geom against a plane, and of pairs of bodies (dojo.physics.collision).
FeatureKind = Literal[
    "disc", "ellipsoid", "point", "closest", "capsules", "edges", "boxes", "round", "convex"
]
PLANE_KINDS = ("disc", "ellipsoid", "point")
# Contact candidates that an entry of a group stands for.
ROWS = {"edges": 2, "boxes": 8, "convex": 9}
WORLD = -1

Q_WIDTH = {"free": 7, "ball": 4, "hinge": 1, "slide": 1, "mocap": 7}
V_WIDTH = {"free": 6, "ball": 3, "hinge": 1, "slide": 1, "mocap": 0}


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh(ContentHashed):
    """A triangle mesh in its geom's frame."""

    vertices: np.ndarray  # (n, 3) [m]
    faces: np.ndarray  # (k, 3) int


@dataclasses.dataclass(frozen=True, eq=False)
class Hull(ContentHashed):
    """The convex hull of a mesh geom that collides."""

    rows: np.ndarray  # (V,) its corners in Model.mesh_vertices
    # (F, K) corners round each by the right hand, by place in `rows`, the last one repeated
    faces: np.ndarray
    edges: np.ndarray  # (E, 2) likewise


@dataclasses.dataclass(frozen=True, eq=False)
class HeightField(ContentHashed):
    """A surface over a grid of points, z upwards in its geom's frame.

    The cell between four points is two triangles, which share the edge from its lower left to its
    upper right point.
    """

    rows: int  # points along y, from -extent to extent
    columns: int  # points along x, likewise
    extent: tuple[float, float]  # half lengths along x and y [m]
    start: int  # of its heights in Model.hfield_heights, row by row

    @property
    def shape(self) -> tuple[int, int]:
        """Points along y and x."""
        return self.rows, self.columns


@dataclasses.dataclass(frozen=True, eq=False)
class ContactGroup(ContentHashed):
    """Contact candidates of one kind, between a first and a second geom.

    The first is a static plane and the second has a feature: a centre, `center_map @ size + vertex`
    in the geom's frame, and a support radius: constant (`radius_map @ size`, kind "point"), that of
    an ellipsoid, or that of a disc across the geom's z axis. Kind "closest": such a point against
    a sphere, capsule or box. All are linear in the geoms' sizes, which stay differentiable. Kinds
    "capsules" (two), "edges" (of a box against a capsule), "boxes" (two), "round" (a sphere or
    ellipsoid against any convex geom) and "convex" (all other pairs, with a cylinder or a mesh)
    have no feature.

    The first geoms may be height fields: an entry is then one of the triangles of a window of cells
    that moves along with the second geom.
    """

    kind: FeatureKind
    condim: int  # MuJoCo's: 1 without friction, 3 sliding, 4 and torsional, 6 and rolling
    first: np.ndarray  # (n,) geom index
    second: np.ndarray  # (n,) geom index
    center_map: np.ndarray  # (n, 3, 3)
    radius_map: np.ndarray  # (n, 3)
    vertex: np.ndarray  # (n,) row of model.mesh_vertices, or -1
    friction_rule: np.ndarray  # (n,) 0: the larger of both, 1: the first's, 2: the second's
    pair: np.ndarray  # (n,) row of model.pair_friction, or -1
    budget: int  # entries that take part in a step at most, the nearest ones
    # Of height fields, else empty: row and column of a cell in its window and which half, (n, 3);
    # rows and columns of the window, (n, 2).
    cell: np.ndarray
    window: np.ndarray

    def __len__(self) -> int:
        return self.rows * self.kept

    @property
    def frictional(self) -> bool:
        """Whether its contacts have friction."""
        return self.condim > 1

    @property
    def kept(self) -> int:
        """Entries that take part in a step."""
        return min(len(self.second), self.budget)

    @property
    def rows(self) -> int:
        """Candidates an entry."""
        return ROWS.get(self.kind, 1)

    @property
    def on_ground(self) -> bool:
        """Whether the first geoms are height fields."""
        return len(self.cell) > 0

    @property
    def with_plane(self) -> bool:
        """Whether the first geoms are planes."""
        return self.kind in PLANE_KINDS


@dataclasses.dataclass(frozen=True, eq=False)
class Actuators(ContentHashed):
    """What actuators act on: a joint, a tendon or a site."""

    joint: np.ndarray  # (nu,) joint index, -1 if none
    tendon: np.ndarray  # (nu,) tendon index, -1 if none
    site_link: np.ndarray  # (nu,) link of the site, -1 the world, -2 if none
    ctrl_limited: np.ndarray  # (nu,) bool
    force_limited: np.ndarray  # (nu,) bool


@dataclasses.dataclass(frozen=True, eq=False)
class Activations(ContentHashed):
    """Actuators with a memory: their force follows an activation, which follows the control."""

    actuator: np.ndarray  # (na,) actuator index
    filtered: np.ndarray  # (na,) bool: a first-order filter of the control, else its integral
    limited: np.ndarray  # (na,) bool
    early: np.ndarray  # (na,) bool: the force of a step is that of the activation at its end

    def __len__(self) -> int:
        return len(self.actuator)


@dataclasses.dataclass(frozen=True, eq=False)
class TendonPaths(ContentHashed):
    """Pieces of the paths of tendons, each between two points that links carry.

    The last ones may wrap round a sphere or a cylinder, on the side of another point.
    """

    point_link: np.ndarray  # (p,) link of each point of Model.tendon_point_pos, -1 the world
    first: np.ndarray  # (k,) points
    second: np.ndarray  # (k,)
    shares: np.ndarray  # (nt, k) what each piece counts in each tendon's length
    geom: np.ndarray  # (w,) what the last pieces wrap round
    cylinder: np.ndarray  # (w,) bool, else a sphere
    side: np.ndarray  # (w,) point on the side to take, -1 for the shorter way

    @property
    def plain(self) -> int:
        """Number of straight pieces."""
        return len(self) - len(self.geom)

    def __len__(self) -> int:
        return len(self.first)


@dataclasses.dataclass(frozen=True, eq=False)
class Equalities(ContentHashed):
    """Equality constraints: frames of two links that coincide, and couplings of scalar joints."""

    names: tuple[str, ...]  # of the joined frames, then of the couplings
    # (n,) each: the links that carry the frames, -1 the world, and whether the frames share their
    # orientation (weld) or their origin alone (connect).
    first: np.ndarray
    second: np.ndarray
    welded: np.ndarray
    coupled: np.ndarray  # (k, nv) bool, the degrees of freedom of each coupling

    @property
    def couplings(self) -> int:
        """Number of couplings."""
        return len(self.names) - len(self.first)

    def __len__(self) -> int:
        return 3 * len(self.first) + 3 * int(self.welded.sum()) + self.couplings


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """A named configuration stored in the file."""

    name: str
    q: tuple[float, ...]
    v: tuple[float, ...]
    ctrl: tuple[float, ...]
    act: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Topology(ContentHashed):
    """Structure of a model. Link i moves by joint i; a parent's index is below its child's."""

    parent: np.ndarray  # (nl,) link index, -1 is the world
    joint_kind: tuple[JointKind, ...]
    link_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    limited: np.ndarray  # (k,) scalar joints with limits
    force_limited_joints: np.ndarray  # (k,) scalar joints whose actuator force is limited
    dry_dofs: np.ndarray  # (nd,) degrees of freedom with dry friction (frictionloss)
    equalities: Equalities
    tendon_names: tuple[str, ...]
    limited_tendons: np.ndarray  # (ntlimit,) tendons with limits
    limited_balls: np.ndarray  # (k,) ball joints with limits
    tendon_paths: TendonPaths
    tendon_dofs: np.ndarray  # (nt, nv) bool, the degrees of freedom of each tendon
    actuators: Actuators
    actuator_names: tuple[str, ...]
    activations: Activations
    fluid_link: np.ndarray  # (k,) links of the bodies that feel the medium
    frame_names: tuple[str, ...]  # of bodies, then of sites
    frame_link: np.ndarray  # (nf,) links that carry them, -1 the world
    sensors: tuple[Sensor, ...]
    sensor_link: np.ndarray  # (k,) links that carry the frames of Model.sensor_pos, -1 the world
    magnetic_field: tuple[float, ...]  # (3,) that magnetometers feel
    geom_kind: tuple[GeomKind, ...]
    geom_names: tuple[str, ...]
    geom_link: np.ndarray  # (ng,) link index, -1 is the world
    geom_rgba: np.ndarray  # (ng, 4)
    geom_group: tuple[int, ...]
    geom_mesh: tuple[Mesh | None, ...]
    geom_hull: tuple[Hull | None, ...]  # of meshes that collide
    geom_hfield: tuple[HeightField | None, ...]
    contacts: tuple[ContactGroup, ...]  # frictional groups first
    restitution: bool  # whether impacts bounce: Model.geom_restitution counts
    margins: bool  # whether geoms keep a distance: Model.geom_margin and pair_margin count
    keyframes: tuple[Keyframe, ...]
    notes: tuple[str, ...]  # what the loader approximated, ignored or merged
    source: str

    @property
    def nl(self) -> int:
        """Number of links (and of joints)."""
        return len(self.joint_kind)

    @property
    def ne(self) -> int:
        """Number of rows of the equality constraints."""
        return len(self.equalities)

    @functools.cached_property
    def sensor_start(self) -> np.ndarray:
        """First number of each sensor, and how many there are at the end: (ns + 1,)."""
        return np.cumsum([0] + [sensor.size for sensor in self.sensors])

    @property
    def nlimit(self) -> int:
        """Number of limited hinges and slides, tendons and ball joints."""
        return len(self.limited) + self.nspan

    @property
    def nspan(self) -> int:
        """Number of limited tendons and ball joints."""
        return len(self.limited_tendons) + len(self.limited_balls)

    @property
    def nc(self) -> int:
        """Number of contact candidates."""
        return sum(len(g) for g in self.contacts)

    @property
    def nc_friction(self) -> int:
        """Number of contact candidates with friction; they come first."""
        return sum(len(g) for g in self.contacts if g.frictional)

    @property
    def tangents(self) -> int:
        """Components of friction that contacts have at most: 2 sliding, 3 and 5 with torques."""
        return max(2, *(g.condim - 1 for g in self.contacts), 0)

    @property
    def budgeted(self) -> bool:
        """Whether the candidates of a step are a selection."""
        return any(g.kept < len(g.second) for g in self.contacts)

    @functools.cached_property
    def q_start(self) -> np.ndarray:
        """First index in q of each joint, and nq at the end: (nl + 1,)."""
        return np.cumsum([0] + [Q_WIDTH[k] for k in self.joint_kind])

    @functools.cached_property
    def v_start(self) -> np.ndarray:
        """First index in v of each joint, and nv at the end: (nl + 1,)."""
        return np.cumsum([0] + [V_WIDTH[k] for k in self.joint_kind])

    @functools.cached_property
    def dof_link(self) -> np.ndarray:
        """Link of each degree of freedom, (nv,)."""
        return np.repeat(np.arange(self.nl), np.diff(self.v_start))

    def joints_of(self, *kinds: JointKind) -> np.ndarray:
        """Indices of the joints of these kinds."""
        return np.array([i for i, k in enumerate(self.joint_kind) if k in kinds], dtype=int)

    @functools.cached_property
    def ancestor(self) -> np.ndarray:
        """ancestor[i, j]: link j is link i or one of its ancestors; row -1 (world) is empty."""
        table = np.zeros((self.nl + 1, self.nl), dtype=bool)
        for i, p in enumerate(self.parent):
            table[i] = table[p]
            table[i, i] = True
        return table

    @functools.cached_property
    def moves(self) -> np.ndarray:
        """moves[i, d]: degree of freedom d moves link i, (nl + 1, nv); row -1 is the world."""
        return self.ancestor[:, self.dof_link]

    @functools.cached_property
    def q_names(self) -> tuple[str, ...]:
        """A readable name for each entry of q."""
        return _component_names(self, Q_WIDTH)

    @functools.cached_property
    def v_names(self) -> tuple[str, ...]:
        """A readable name for each entry of v."""
        return _component_names(self, V_WIDTH)


def _component_names(topology: Topology, width: dict[str, int]) -> tuple[str, ...]:
    names = []
    for name, kind in zip(topology.joint_names, topology.joint_kind, strict=True):
        n = width[kind]
        names += [name] if n == 1 else [f"{name}[{k}]" for k in range(n)]
    return tuple(names)


def contact_geoms(topology: Topology) -> np.ndarray:
    """Geoms of all contact candidates, whether a budget leaves some out or not: (n, 2)."""
    pairs: list[Any] = [
        np.repeat(np.stack([g.first, g.second], axis=1), g.rows, axis=0) for g in topology.contacts
    ]
    return np.concatenate([*pairs, np.zeros((0, 2), int)]).astype(np.int32)
