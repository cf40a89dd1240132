"""The viewer's front: a model, its states, and where to look at them."""

import os
from pathlib import Path
from typing import Any

import jax
import meshcat
import numpy as np
from numpy.typing import ArrayLike

from dojo.model.model import Model
from dojo.model.state import State, init
from dojo.physics.kinematics import geom_poses
from dojo.viewer import stage
from dojo.viewer.animation import Animation, KeyFrames, moves, select_key_frames
from dojo.viewer.geoms import drawing, read_geoms, shown_groups
from dojo.viewer.recording import Recording

_LEAST_FLOOR = 20.0  # [m]

_batched_poses = jax.jit(jax.vmap(geom_poses, in_axes=(None, 0)))


class Visualizer:
    """A meshcat scene of a model's geometry.

    Geoms of MuJoCo's groups 0, 1 and 2 are shown, as in MuJoCo's viewer; other groups can be
    switched on in the viewer's menu, and are shown if 0 to 2 hold nothing but planes. A plane of
    size 0 (infinite) is drawn with a half size of 20 m, 20 times the model's radius, or twice the
    way from the origin, whichever is most; planes are seen from above only.

    No server runs, and no browser is needed, until one asks for the live scene: by `open_browser`,
    `url`, `jupyter` or a given `vis`.

    Attributes:
        vis: the scene as a `meshcat.Visualizer`, in world coordinates, for drawings of one's own:
            `viewer.vis["goal"].set_object(...)`. They are part of `html()` and `save()` too.
    """

    def __init__(
        self,
        model: Model,
        *,
        open_browser: bool = False,
        vis: meshcat.Visualizer | None = None,
    ) -> None:
        """Build the scene of `model` at rest.

        Args:
            open_browser: start meshcat's server and open its page.
            vis: draw into this scene. Of a meshcat server's scene, `html()` holds what is drawn
                from here on; another viewer's `vis["name"]` puts both models into one scene, which
                has one animation.

        Raises:
            ValueError: a geom is of a kind that cannot be drawn.
            RuntimeError: the meshcat server does not start or answer.
        """
        self._model = model
        window = None if vis is None else vis.window
        self._recording = window if isinstance(window, Recording) else Recording(window)
        self.vis = meshcat.Visualizer(window=self._recording)
        if vis is not None:
            self.vis = meshcat.Visualizer.view_into(self._recording, vis.path)
        self._geoms = read_geoms(model)
        self._drawn = [i for i, geom in enumerate(self._geoms) if geom.is_drawn]
        self._groups = shown_groups(self._geoms)
        self._eye_is_set = False
        self._animation: Animation | None = None
        self._build(np.asarray(init(model).q))
        if open_browser:
            self._recording.open()

    def show(self, state: State) -> None:
        """Draw one state; its `q` is (nq,). Ends an animation.

        The camera follows when the model leaves the view, unless `look_at` has set it.

        Raises:
            ValueError: wrong shape, NaN or infinity in q.
        """
        q = self._configurations(state, 1, "show", "play() takes a trajectory (T, nq)")
        if self._animation is not None:
            self.vis.set_animation(Animation(np.zeros(0), {}), play=False)
            self._animation = None
        positions, rotations = self._poses(q[None])
        view = stage.around(*self._bounds(positions, rotations))
        if not self._view.holds(view):
            self._take_in(view)
        self._pose(positions, rotations)

    def play(self, states: State, *, timestep: float | None = None, speed: float = 1.0) -> None:
        """Load a trajectory as an animation that plays at once, in a loop, in real time.

        At most 60 frames a second are kept. The camera takes in the whole trajectory, or follows
        the model on a long way, unless `look_at` has set it.

        Args:
            states: stacked states; `q` is (T, nq).
            timestep: seconds between two of them; the model's timestep by default.
            speed: 1 is real time, 0.1 ten times slower.

        Raises:
            ValueError: wrong shape, no frame, NaN or infinity, timestep or speed not positive.
        """
        q = self._configurations(states, 2, "play", "show() takes a single state (nq,)")
        frames = select_key_frames(len(q), self._interval(timestep, speed))
        positions, rotations = self._poses(q[frames.index])
        moving = moves(positions, rotations)
        poses = {
            self._node(i).path.lower(): (positions[:, i], rotations[:, i])
            for i in self._drawn
            if moving[i]
        }
        poses |= self._camera_way(positions, rotations, frames)
        self._pose(positions, rotations)
        self._animate(Animation(frames.time, poses))

    def look_at(self, eye: ArrayLike, target: ArrayLike) -> None:
        """Put the camera at `eye` (3,), looking at `target` (3,), both in world coordinates [m].

        Raises:
            ValueError: not 3 finite numbers each, or eye and target at one point.
        """
        points = [np.asarray(eye, dtype=float), np.asarray(target, dtype=float)]
        if any(p.shape != (3,) or not np.isfinite(p).all() for p in points):
            raise ValueError(
                f"look_at: eye {eye!r} and target {target!r} must be 3 finite numbers each"
            )
        distance = float(np.linalg.norm(points[0] - points[1]))
        if distance == 0.0:
            raise ValueError(f"look_at: eye and target are both {target!r}; move one of them")
        if self._animation is not None:
            self._animate(self._animation.without(stage.world(self.vis)))
        stage.frame(self.vis, stage.Extent(points[1], distance / 2.0), points[0], self._floor)
        self._eye_is_set = True

    def html(self) -> str:
        """The scene, with its animation, as one HTML page that needs no server and no network."""
        return self._recording.get_scene()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `html()` to `path` (UTF-8) and return the path.

        Raises:
            ValueError: the file cannot be written there.
        """
        path = Path(path)
        try:
            path.write_text(self.html(), encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"save: cannot write '{path}' ({error.strerror}); give a file name in an existing "
                "folder that you may write to"
            ) from error
        return path

    @property
    def url(self) -> str:
        """Address of the live scene. RuntimeError if meshcat's server does not start."""
        return self._recording.web_url

    def jupyter(self, height: int = 400) -> Any:
        """The live scene as the output of a notebook cell, `height` pixels high."""
        return self.vis.jupyter_cell(height=height)

    def _build(self, q: np.ndarray) -> None:
        positions, rotations = self._poses(q[None])
        view = stage.around(*self._bounds(positions, rotations))
        self._floor = max(_LEAST_FLOOR, 20.0 * view.radius)
        self._tile = stage.tile_size(view.radius)
        stage.set_background(self.vis)
        self._take_in(view)
        for group in sorted({geom.group for geom in self._geoms}):
            self.vis[f"group {group}"].set_property("visible", group in self._groups)
        self._draw(self._drawn)
        self._pose(positions, rotations)

    def _draw(self, indices: list[int]) -> None:
        for i in indices:
            self._node(i).set_object(drawing(self._geoms[i], tile=self._tile, infinite=self._floor))

    def _node(self, i: int) -> meshcat.Visualizer:
        geom = self._geoms[i]
        return self.vis[f"group {geom.group}/{geom.name}"]

    def _poses(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World poses at q (T, nq): positions (T, ng, 3), rotations (T, ng, 3, 3), in float64."""
        positions, rotations = _batched_poses(self._model, q)
        return np.asarray(positions, dtype=float), np.asarray(rotations, dtype=float)

    def _pose(self, positions: np.ndarray, rotations: np.ndarray) -> None:
        """Place the geoms as in the first frame."""
        for i in self._drawn:
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = rotations[0, i], positions[0, i]
            self._node(i).set_transform(matrix)

    def _animate(self, animation: Animation) -> None:
        self.vis.set_animation(animation, repetitions=float("inf"))
        self._animation = animation

    def _bounds(
        self, positions: np.ndarray, rotations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        seen = [i for i in self._drawn if self._geoms[i].group in self._groups]
        return stage.bounds([self._geoms[i] for i in seen], positions[:, seen], rotations[:, seen])

    def _camera_way(
        self, positions: np.ndarray, rotations: np.ndarray, frames: KeyFrames
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Point the camera at a trajectory; what to animate for it to follow, if it has to."""
        low, high = self._bounds(positions, rotations)
        self._take_in(stage.around(low, high))  # also lets the floor reach to the end
        way = stage.track(low, high, frames)
        if way is None or self._eye_is_set:
            return {}
        view, centers = way
        self._take_in(view)
        return {stage.world(self.vis): (-centers, np.tile(np.eye(3), (len(centers), 1, 1)))}

    def _take_in(self, view: stage.Extent) -> None:
        """Turn the camera to `view`, unless `look_at` has set it, and let the floor reach there."""
        reach = 2.0 * (float(np.linalg.norm(view.center)) + view.radius)
        if reach > self._floor:
            self._floor = reach
            self._draw([i for i in self._drawn if self._geoms[i].is_plane])
        if not self._eye_is_set:
            self._view = view
            stage.frame(self.vis, view, stage.default_eye(view), self._floor)

    def _interval(self, timestep: float | None, speed: float) -> float:
        """Seconds of playback between two states."""
        step = float(self._model.timestep if timestep is None else timestep)
        for name, value in (("timestep", step), ("speed", speed)):
            if not 0.0 < value < np.inf:
                raise ValueError(f"play: {name} is {value}; it must be positive and finite")
        return step / speed

    def _configurations(self, states: State, ndim: int, caller: str, hint: str) -> np.ndarray:
        """`states.q` as a checked array of `ndim` dimensions."""
        if not hasattr(states, "q"):
            raise ValueError(
                f"{caller}: got a {type(states).__name__}, expected a dojo.State; of what a step "
                "returns, (state, info), pass the state"
            )
        q = np.asarray(states.q)
        shape = ("T", self._model.nq)[-ndim:]
        expected = f"({', '.join(map(str, shape))}{',' if ndim == 1 else ''})"
        if q.ndim != ndim or q.shape[-1] != self._model.nq:
            raise ValueError(
                f"{caller}: q has shape {q.shape}, expected {expected}; {hint}, and of a batch "
                "pick one, e.g. jax.tree.map(lambda x: x[0], states)"
            )
        if q.shape[0] == 0:
            raise ValueError(f"{caller}: the trajectory is empty; q has shape {q.shape}")
        bad = np.flatnonzero(~np.isfinite(q.reshape(-1, q.shape[-1])).all(axis=-1))
        if bad.size:
            where = (
                f" in {bad.size} of {len(q)} frames, first in frame {bad[0]}" if ndim == 2 else ""
            )
            raise ValueError(
                f"{caller}: q holds NaN or infinity{where}; show the states before it, and look at "
                "the status of the step that made it"
            )
        return q
