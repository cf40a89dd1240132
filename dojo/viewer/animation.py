"""A trajectory of geom poses as a looping animation on meshcat's timeline."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from meshcat.geometry import pack_numpy_array
from scipy.spatial.transform import Rotation

_MAX_RATE = 60.0  # key frames a second of playback


@dataclass(frozen=True)
class KeyFrames:
    """Frames taken from a trajectory: `index` (K,) into it, `time` (K,) [s] on the timeline."""

    index: np.ndarray
    time: np.ndarray


def select_key_frames(n_frames: int, interval: float) -> KeyFrames:
    """Every so-manieth of `n_frames` frames, `interval` [s] of playback apart: at most 60 a second.

    First and last frame are always taken, so that the duration is (n_frames - 1) interval.
    """
    # The small term keeps exact multiples, such as 1/60 s, from being rounded up.
    stride = max(1, math.ceil(1.0 / (_MAX_RATE * interval) - 1e-6))
    index = np.arange(0, n_frames, stride)
    if index[-1] != n_frames - 1:
        index = np.append(index, n_frames - 1)
    return KeyFrames(index, index * interval)


def moves(positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Which of n geoms move over K frames, bool (n,), from their poses (K, n, 3), (K, n, 3, 3)."""
    shift = np.abs(positions - positions[0]).max(axis=(0, 2))
    turn = np.abs(rotations - rotations[0]).max(axis=(0, 2, 3))
    return np.asarray((shift > 1e-9) | (turn > 1e-9))


@dataclass(frozen=True)
class Animation:
    """What meshcat's `set_animation` takes: the poses of nodes of the scene at `time` (K,) [s].

    `poses` maps the path of a node to positions (K, 3) [m] and rotations (K, 3, 3).
    """

    time: np.ndarray
    poses: dict[str, tuple[np.ndarray, np.ndarray]]

    def without(self, path: str) -> "Animation":
        """The animation that leaves the node at `path` alone."""
        return Animation(self.time, {p: pose for p, pose in self.poses.items() if p != path})

    def lower(self) -> list[dict[str, Any]]:
        return [
            {
                "path": path,
                "clip": {
                    "fps": 1.0,  # three.js divides the times by this: they stay seconds
                    "name": "trajectory",
                    "tracks": [
                        self._track("position", "vector3", position),
                        # scipy's order, xyzw, is also that of three.js.
                        self._track(
                            "quaternion", "quaternion", Rotation.from_matrix(rotation).as_quat()
                        ),
                    ],
                },
            }
            for path, (position, rotation) in self.poses.items()
        ]

    def _track(self, name: str, kind: str, values: np.ndarray) -> dict[str, Any]:
        # Flat arrays take a quarter of the space of meshcat's list of keys; three.js reads both.
        return {
            "name": f".{name}",
            "type": kind,
            "times": pack_numpy_array(self.time)["array"],
            "values": pack_numpy_array(values.T)["array"],  # it packs column by column
        }
