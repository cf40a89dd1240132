"""Meshes and height fields as assets that hold their numbers."""

import dataclasses
from typing import Any

import numpy as np

from dojo.export.document import Document, add, unused
from dojo.model.topology import Mesh

_LOOKS = "/looks"
# Depth of a height field below its lowest point [m]; nothing here depends on it.
_BASE = 0.1


@dataclasses.dataclass
class Shapes:
    """What the geoms of a document look like."""

    document: Document

    def of(self, geom: int, name: str) -> tuple[Any, dict[str, Any]]:
        """Position of a geom and the attributes of its shape; writes the asset that it needs."""
        t, pos = self.document.model.topology, self.document.model.geom_pos[geom]
        if t.geom_kind[geom] == "mesh":
            return pos, {"mesh": self._mesh(geom, name)}
        if t.geom_kind[geom] == "hfield":
            return self._hfield(geom, name)
        return pos, {}

    def _mesh(self, geom: int, name: str) -> str:
        """What collides is the hull, by its corners of now; what is seen is a geom of its own."""
        model, t = self.document.model, self.document.model.topology
        mesh, hull = t.geom_mesh[geom], t.geom_hull[geom]
        assert mesh is not None
        if hull is None:
            return self._asset(name, mesh.vertices, mesh.faces)
        corners = np.asarray(model.mesh_vertices)[hull.rows]
        if len(corners) < len(mesh.vertices):
            self._looks(geom, name, mesh)
        return self._asset(name, corners, None)

    def _looks(self, geom: int, name: str, mesh: Mesh) -> None:
        model, t = self.document.model, self.document.model.topology
        add(
            self.document.bodies[int(t.geom_link[geom])],
            "geom",
            name=unused(name + _LOOKS, t.geom_names),
            type="mesh",
            mesh=self._asset(name + _LOOKS, mesh.vertices, mesh.faces),
            pos=model.geom_pos[geom],
            quat=model.geom_quat[geom],
            rgba=t.geom_rgba[geom],
            group=t.geom_group[geom],
            contype=0,
            conaffinity=0,
        )

    def _asset(self, name: str, vertices: np.ndarray, faces: np.ndarray | None) -> str:
        # The inertia of a shell is there for open meshes as well; masses are the bodies' own.
        kind = "convex" if faces is None else "shell"
        written = None if faces is None else " ".join(str(i) for i in np.ravel(faces))
        return self._add("mesh", name, inertia=kind, vertex=vertices, face=written)

    def _add(self, tag: str, name: str, **attributes: Any) -> str:
        """A new asset; the name that it got."""
        assets = self.document.section("asset")
        own = unused(name, [str(asset.get("name")) for asset in assets])
        add(assets, tag, name=own, **attributes)
        return own

    def _hfield(self, geom: int, name: str) -> tuple[Any, dict[str, Any]]:
        """Elevations are shares of the range of heights, above the lowest."""
        model, t = self.document.model, self.document.model.topology
        field = t.geom_hfield[geom]
        assert field is not None
        heights = np.asarray(model.hfield_heights, dtype=float)
        heights = heights[field.start : field.start + field.rows * field.columns]
        low, span = heights.min(), float(np.ptp(heights)) or 1.0
        own = self._add(
            "hfield",
            name,
            nrow=field.rows,
            ncol=field.columns,
            size=[*field.extent, span, _BASE],
            # As seen from above: its rows begin where y is largest.
            elevation=((heights - low) / span).reshape(field.shape)[::-1],
        )
        w, x, y, z = np.asarray(model.geom_quat[geom], dtype=float)
        up = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
        return np.asarray(model.geom_pos[geom]) + low * up, {"hfield": own}
