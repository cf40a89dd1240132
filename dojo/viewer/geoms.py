"""The model's geoms as meshcat objects, each in its geom's own frame."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from meshcat import geometry
from PIL import Image

from dojo.model.model import Model
from dojo.model.topology import Mesh
from dojo.viewer import surfaces

_DEFAULT_GROUPS = (0, 1, 2)  # as in MuJoCo's viewer
_FRONT_SIDE, _DOUBLE_SIDE = 0, 2  # three.js constants
_REPEAT_WRAPPING = 1000
_DARK_TILE = 218  # of 255: the darker tiles of a floor, relative to the geom's own colour


@dataclass(frozen=True)
class Geom:
    """What the viewer knows of one geom.

    `size` (3,) [m] follows MuJoCo; `rgba` (4,) is in [0, 1]; `mesh` has vertices (n, 3) [m] and
    faces (m, 3), or is None; `name` is the node of the scene tree, unique and without slashes.
    """

    name: str
    kind: str
    size: np.ndarray
    rgba: np.ndarray
    group: int
    mesh: Mesh | None

    @property
    def is_plane(self) -> bool:
        """Planes have no extent: they neither set the view nor the groups that are shown."""
        return self.kind == "plane"

    @property
    def is_drawn(self) -> bool:
        """Whether the geom has a node in the scene: not if it is wholly transparent."""
        return bool(self.rgba[3] > 0.0)

    def half_extent(self) -> np.ndarray:
        """Half sizes (3,) [m] of a box about the geom's origin that holds the geom (no plane)."""
        size = self.size
        if self.mesh is not None:
            return np.asarray(np.abs(self.mesh.vertices).max(axis=0))
        match self.kind:
            case "sphere":
                return np.full(3, size[0])
            case "capsule":
                return np.array([size[0], size[0], size[0] + size[1]])
            case "cylinder":
                return np.array([size[0], size[0], size[1]])
            case _:
                return size


def read_geoms(model: Model) -> list[Geom]:
    """The geoms of `model`, in its order."""
    topology = model.topology
    sizes = np.asarray(model.geom_size, dtype=float)
    rgba = np.asarray(topology.geom_rgba, dtype=float)
    return [
        Geom(
            # A slash would nest one geom below another and add up their poses.
            name=f"{i} {topology.geom_names[i]}".strip().replace("/", "."),
            kind=kind,
            size=sizes[i],
            rgba=rgba[i],
            group=int(topology.geom_group[i]),
            mesh=topology.geom_mesh[i],
        )
        for i, kind in enumerate(topology.geom_kind)
    ]


def shown_groups(geoms: list[Geom]) -> set[int]:
    """Groups drawn at first: 0 to 2, or all where those hold nothing but planes."""
    if any(g.group in _DEFAULT_GROUPS and g.is_drawn and not g.is_plane for g in geoms):
        return set(_DEFAULT_GROUPS)
    return {g.group for g in geoms}


def drawing(geom: Geom, *, tile: float, infinite: float) -> geometry.Object:
    """The meshcat object of `geom`. `tile` [m] is the side of a floor's tiles and `infinite`
    [m] the half size that a plane's size 0 stands for.

    Raises ValueError for a kind of geom that has no drawing.
    """
    if geom.is_plane:
        return _floor(geom, tile, infinite)
    return geometry.Mesh(_shape(geom), _material(geom))


def _shape(geom: Geom) -> geometry.Geometry:
    size = geom.size
    if geom.mesh is not None:
        return geometry.TriangularMeshGeometry(geom.mesh.vertices, geom.mesh.faces)
    match geom.kind:
        case "box":
            return geometry.Box([float(2.0 * s) for s in size])
        case "sphere":
            surface = surfaces.ellipsoid(np.full(3, size[0]))
        case "ellipsoid":
            surface = surfaces.ellipsoid(size)
        case "capsule":
            surface = surfaces.capsule(size[0], size[1])
        case "cylinder":
            surface = surfaces.cylinder(size[0], size[1])
        case _:
            raise ValueError(
                f"geom '{geom.name}' is of kind '{geom.kind}', which the viewer cannot draw; it "
                "draws plane, sphere, capsule, ellipsoid, cylinder, box and mesh"
            )
    return geometry.TriangularMeshGeometry(*surface)


def _material(geom: Geom, **properties: Any) -> geometry.MeshPhongMaterial:
    red, green, blue = (round(255 * float(c)) for c in np.clip(geom.rgba[:3], 0.0, 1.0))
    if geom.mesh is not None:
        # Meshes share vertices over sharp edges: averaged normals would smear them. Their
        # faces may also be wound either way.
        properties |= {"flatShading": True, "side": _DOUBLE_SIDE}
    return geometry.MeshPhongMaterial(
        color=red << 16 | green << 8 | blue,
        opacity=float(np.clip(geom.rgba[3], 0.0, 1.0)),
        **{"side": _FRONT_SIDE, **properties},
    )


class _Rectangle(geometry.Geometry):
    """Rectangle in the local xy plane with texture coordinates, normal +z."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self.width, self.height = width, height

    def lower(self, object_data: dict[str, Any]) -> dict[str, Any]:
        return {
            "uuid": self.uuid,
            "type": "PlaneGeometry",
            "width": self.width,
            "height": self.height,
        }


def _floor(geom: Geom, tile: float, infinite: float) -> geometry.Object:
    """Checkered floor, drawn from above only, so that a view from below is not blocked."""
    # Tiles start at a corner: whole pairs of them keep their place when the floor grows.
    infinite = 2.0 * tile * np.ceil(infinite / (2.0 * tile))
    half_x, half_y = (float(s if s > 0.0 else infinite) for s in geom.size[:2])
    checker = geometry.ImageTexture(
        image=geometry.PngImage(_checker_png()),
        wrap=[_REPEAT_WRAPPING, _REPEAT_WRAPPING],
        repeat=[half_x / tile, half_y / tile],  # the image is two tiles wide
        anisotropy=8,
    )
    return geometry.Mesh(_Rectangle(2 * half_x, 2 * half_y), _material(geom, map=checker))


def _checker_png(pixels: int = 256) -> bytes:
    half = np.arange(pixels) < pixels // 2
    tone = np.where(half[:, None] == half[None, :], 255, _DARK_TILE).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(tone).convert("RGB").save(png, format="PNG")
    return png.getvalue()
