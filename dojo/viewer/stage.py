"""Camera, lights and background, sized to what there is to see."""

from dataclasses import dataclass
from typing import Any

import meshcat
import numpy as np
from meshcat import geometry
from scipy.ndimage import gaussian_filter1d

from dojo.viewer.animation import KeyFrames
from dojo.viewer.geoms import Geom

_FIELD_OF_VIEW = 40.0  # [deg], vertical
_VIEW_DIRECTION = np.array([0.6, -1.0, 0.45])  # from the target to the eye: x to the right, z up
_LIGHT_DIRECTION = np.array([-0.3, -0.6, 1.0])  # shadows fall to the right, where they are seen
_FILL_DIRECTION = [1.0, -0.3, 0.3]  # lights the sides that the key light leaves dark
_KEY, _AMBIENT, _FILL = 0.5, 0.4, 0.25  # intensities; more than about 1 in all washes colours out
_WHOLE_WAY = 4.0  # a longer way, in sizes of the model, is followed
_SMOOTHING = 0.3  # [s], standard deviation of the filter of the camera's way
_HIDDEN = ("Grid", "Axes", "Lights/PointLightNegativeX", "Lights/PointLightPositiveX")
_TOP_COLOR, _BOTTOM_COLOR = [0.80, 0.87, 0.95], [0.97, 0.98, 1.0]


@dataclass(frozen=True)
class Extent:
    """Ball that holds what is to be in view: `center` (3,) [m], `radius` [m] > 0."""

    center: np.ndarray
    radius: float

    def holds(self, other: "Extent") -> bool:
        """Whether `other` is in view where this ball is; the view has some room to spare."""
        shift = float(np.linalg.norm(other.center - self.center))
        return shift + other.radius <= 1.3 * self.radius


def bounds(
    geoms: list[Geom], positions: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (T, 3) [m] of a box about all of `geoms` but planes, per frame.

    `positions` (T, n, 3) [m] and `rotations` (T, n, 3, 3) are world poses of the n geoms.
    """
    solid = [i for i, geom in enumerate(geoms) if not geom.is_plane]
    if not solid:
        center = positions.mean(axis=1) if geoms else np.zeros((len(positions), 3))
        return center - 0.5, center + 0.5
    half = np.stack([geoms[i].half_extent() for i in solid])
    reach = np.einsum("tnij,nj->tni", np.abs(rotations[:, solid]), half)
    return (positions[:, solid] - reach).min(axis=1), (positions[:, solid] + reach).max(axis=1)


def around(low: np.ndarray, high: np.ndarray) -> Extent:
    """Ball about the boxes of all frames, from their corners (T, 3) [m]."""
    low, high = low.min(axis=0), high.max(axis=0)
    return Extent((low + high) / 2.0, max(float(np.linalg.norm(high - low)) / 2.0, 1e-3))


def track(low: np.ndarray, high: np.ndarray, frames: KeyFrames) -> tuple[Extent, np.ndarray] | None:
    """How to follow boxes that travel, from their corners (T, 3) [m] at the T key frames.

    Returns the first view and the centers (T, 3) [m] of all, or None where one view of the whole
    way does: one no more than 4 times the size of the largest box.
    """
    size = float(np.linalg.norm(high - low, axis=1).max()) / 2.0
    if around(low, high).radius <= _WHOLE_WAY * size:
        return None
    center = (low + high) / 2.0
    # Without the swing of the legs, which would shake the picture.
    smooth = gaussian_filter1d(center, _SMOOTHING / frames.time[1], axis=0, mode="nearest")
    drift = float(np.linalg.norm(smooth - center, axis=1).max())
    return Extent(smooth[0], size + drift), smooth


def tile_size(radius: float) -> float:
    """Side of a floor's tiles [m]: a power of ten times 1, 2 or 5, about half of `radius`."""
    power = 10.0 ** np.floor(np.log10(radius / 2.0))
    return float(power * max(m for m in (1.0, 2.0, 5.0) if m * power <= radius / 2.0))


def set_background(vis: meshcat.Visualizer) -> None:
    """Soft light and a light background, without grid and axes (the viewer's menu has them)."""
    for path in _HIDDEN:
        vis["/" + path].set_property("visible", False)
    vis["/Background"].set_property("top_color", _TOP_COLOR)
    vis["/Lights/AmbientLight/<object>"].set_property("intensity", _AMBIENT)
    vis["/Lights/FillLight/<object>"].set_property("intensity", _FILL)
    vis["/Lights/FillLight/<object>"].set_property("position", _FILL_DIRECTION)
    vis["/Background"].set_property("bottom_color", _BOTTOM_COLOR)


def default_eye(view: Extent) -> np.ndarray:
    """Camera position (3,) [m] from where the ball `view` just fits."""
    direction = _VIEW_DIRECTION / np.linalg.norm(_VIEW_DIRECTION)
    distance = view.radius / np.sin(np.radians(_FIELD_OF_VIEW) / 2.0)
    return np.asarray(view.center + distance * direction)


def world(vis: meshcat.Visualizer) -> str:
    """Path of the node that holds the drawn world, in meshcat's own frame."""
    return "/" + "".join(vis.path.entries[:1])


def frame(vis: meshcat.Visualizer, view: Extent, eye: np.ndarray, floor: float) -> None:
    """Look from `eye` (3,) [m] at the center of `view`, and light the ball `view`.

    `floor` [m] is how far the scenery reaches. meshcat's camera always turns about, and looks at,
    the origin; so the drawn world is moved instead: its point `view.center` to the origin.
    """
    vis[world(vis)].set_transform(_translation(-view.center))
    x, y, z = (float(c) for c in eye - view.center)
    camera = vis["/Cameras/default/rotated/<object>"]
    camera.set_property("position", [x, z, -y])  # this node has y up
    camera.set_property("fov", _FIELD_OF_VIEW)
    camera.set_property("near", view.radius / 50.0)
    camera.set_property("far", 20.0 * view.radius + 3.0 * floor)
    vis["/Lights/Key"].set_object(_KeyLight(view.radius))


class _KeyLight(geometry.Object):
    """Directional light from above whose shadows cover a ball of `radius` [m] at the origin."""

    def __init__(self, radius: float) -> None:
        geometry.SceneElement.__init__(self)
        self.radius = radius

    def lower(self) -> dict[str, Any]:
        r = self.radius
        position = _LIGHT_DIRECTION / np.linalg.norm(_LIGHT_DIRECTION) * 4.0 * r
        box = {"left": -r, "right": r, "top": r, "bottom": -r, "near": r, "far": 10.0 * r}
        return {
            "object": {
                "uuid": self.uuid,
                "type": "DirectionalLight",
                "color": 0xFFFFFF,
                "intensity": _KEY,
                "matrix": [float(m) for m in _translation(position).T.flatten()],
                "shadow": {
                    "mapSize": [2048, 2048],
                    "normalBias": 0.004 * r,
                    "camera": {"type": "OrthographicCamera", **box},
                },
            }
        }


def _translation(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix
