"""Distances of convex geoms by coal, a judge that shares no code with MuJoCo or with us."""

import coal
import mujoco
import numpy as np
from scipy.spatial import ConvexHull

_KIND = mujoco.mjtGeom


class Judge:
    """Geoms of a MuJoCo model as coal's shapes."""

    def __init__(self, m: mujoco.MjModel) -> None:
        self._shapes = {g: _shape(m, g) for g in range(m.ngeom)}
        self._request, self._result = coal.DistanceRequest(), coal.DistanceResult()
        self._request.gjk_tolerance = self._request.epa_tolerance = 1e-12
        self._request.gjk_max_iterations = self._request.epa_max_iterations = 1000

    def distance(self, d: mujoco.MjData, a: int, b: int) -> float:
        """Signed distance [m] of two geoms where MuJoCo's kinematics put them."""
        one, two = (coal.Transform3s(d.geom_xmat[g].reshape(3, 3), d.geom_xpos[g]) for g in (a, b))
        self._result.clear()
        return float(
            coal.distance(self._shapes[a], one, self._shapes[b], two, self._request, self._result)
        )


def _shape(m: mujoco.MjModel, geom: int) -> object:
    size = m.geom_size[geom].astype(float)
    match m.geom_type[geom]:
        case _KIND.mjGEOM_SPHERE:
            return coal.Sphere(size[0])
        case _KIND.mjGEOM_ELLIPSOID:
            return coal.Ellipsoid(size)
        case _KIND.mjGEOM_CAPSULE:
            return coal.Capsule(size[0], 2 * size[1])
        case _KIND.mjGEOM_CYLINDER:
            return coal.Cylinder(size[0], 2 * size[1])
        case _KIND.mjGEOM_BOX:
            return coal.Box(2 * size)
    mesh = m.geom_dataid[geom]
    start, count = m.mesh_vertadr[mesh], m.mesh_vertnum[mesh]
    return _hull(m.mesh_vert[start : start + count].astype(float))


def _hull(vertices: np.ndarray) -> object:
    hull = ConvexHull(vertices)
    points, triangles = coal.StdVec_Vec3s(), coal.StdVec_Triangle()
    corner = {int(v): k for k, v in enumerate(hull.vertices)}
    for v in hull.vertices:
        points.append(vertices[v])
    middle = vertices.mean(axis=0)
    for a, b, c in hull.simplices.tolist():
        normal = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        if normal @ (vertices[a] - middle) < 0:
            b, c = c, b
        triangles.append(coal.Triangle(corner[a], corner[b], corner[c]))
    return coal.Convex(points, triangles)
