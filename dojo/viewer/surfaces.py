"""Surfaces of revolution about the local z axis, the axis of MuJoCo's round geoms.

three.js turns its cylinders about y and has no capsule; revolving a profile gives every round
geom in MuJoCo's frame, so that no axis has to be swapped anywhere else.
"""

import numpy as np

_AROUND = 32  # segments about z
_ALONG = 16  # segments from pole to pole of a half circle (even, so that the equator is a ring)

Surface = tuple[np.ndarray, np.ndarray]


def revolve(profile: np.ndarray, n_around: int = _AROUND) -> Surface:
    """Revolve `profile` (k, 2), rows (radius, z) [m] from low to high z, about the z axis.

    Returns vertices (k * n_around, 3) [m] and faces (2 (k - 1) n_around, 3), counter-clockwise
    seen from outside. A row given twice makes a crease: the two copies share no face, so
    that the renderer, which averages normals over a vertex, keeps the edge sharp.
    """
    angle = np.linspace(0.0, 2.0 * np.pi, n_around, endpoint=False)
    radius, z = profile[:, :1], profile[:, 1:]
    vertices = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), np.broadcast_to(z, (len(z), n_around))],
        axis=-1,
    ).reshape(-1, 3)
    lower, around = np.meshgrid(_strips(profile) * n_around, np.arange(n_around), indexing="ij")
    a, b = lower + around, lower + (around + 1) % n_around
    c, d = a + n_around, b + n_around
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=1)
    return vertices, faces.reshape(-1, 3)


def _strips(profile: np.ndarray) -> np.ndarray:
    """Indices of the profile rows that start a strip of faces: all but creases."""
    return np.flatnonzero(np.any(np.diff(profile, axis=0) != 0.0, axis=1))


def _arc(radius: float, start: float, stop: float, n: int) -> np.ndarray:
    latitude = np.linspace(start, stop, n + 1)
    return radius * np.stack([np.cos(latitude), np.sin(latitude)], axis=-1)


def ellipsoid(half_sizes: np.ndarray) -> Surface:
    """Ellipsoid with semi-axes `half_sizes` (3,) [m]; three equal ones make a sphere."""
    vertices, faces = revolve(_arc(1.0, -np.pi / 2, np.pi / 2, _ALONG))
    return vertices * half_sizes, faces


def capsule(radius: float, half_length: float) -> Surface:
    """Capsule about z: `half_length` [m] is that of the cylinder between the half spheres."""
    up = np.array([0.0, half_length])
    low = _arc(radius, -np.pi / 2, 0.0, _ALONG // 2) - up
    high = _arc(radius, 0.0, np.pi / 2, _ALONG // 2) + up
    return revolve(np.concatenate([low, high]))


def cylinder(radius: float, half_length: float) -> Surface:
    """Closed cylinder about z with sharp rims, `half_length` [m] to either side."""
    r, h = radius, half_length
    return revolve(np.array([[0, -h], [r, -h], [r, -h], [r, h], [r, h], [0, h]], dtype=float))
