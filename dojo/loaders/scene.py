"""Scenes of several files: a first one, and others that stand in it, under names of their own."""

import dataclasses
from collections.abc import Sequence

import mujoco

from dojo.loaders.findings import Findings, listing
from dojo.loaders.source import Source, explaining, read_source, source_text
from dojo.loaders.urdf import Asked, Root

_PLACE, _TURN = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a scene, for `dojo.load([...])`.

    Attributes:
        source: path of an MJCF or URDF file, the XML itself, or a `mujoco.MjSpec`.
        prefix: before all of its names, e.g. "left/"; those of parts must differ.
        pos: (3,) [m] where its world stands in that of the first part.
        quat: (4,) unit quaternion, wxyz: how it is turned there.
        root: of a URDF, see `dojo.load`.
        repair_inertia: likewise.
        motors: likewise.
    """

    source: Source
    prefix: str = ""
    pos: Sequence[float] = _PLACE
    quat: Sequence[float] = _TURN
    root: Root | None = None
    repair_inertia: bool = False
    motors: bool = False

    @property
    def asked(self) -> Asked:
        """What is asked of a URDF."""
        return Asked(self.root, self.repair_inertia, self.motors)


def read_scene(parts: Sequence[Source | Part], found: Findings) -> tuple[mujoco.MjSpec, str]:
    """MuJoCo's editable form of all parts together, and a name for messages.

    Raises:
        ModelError: a part cannot be read, or parts do not fit together.
        ValueError: no parts, the first one has a pose or a prefix, or prefixes are not distinct.
    """
    every = [part if isinstance(part, Part) else Part(part) for part in parts]
    _check(every)
    read = [read_source(part.source, part.asked, found) for part in every]
    bouncing = [own for part, (_, own) in zip(every, read, strict=True) if _bounces(part.source)]
    if bouncing:
        found.note(
            f"restitution of URDF parts is not read ({listing(bouncing)}): "
            "dojo.load(..., restitution={geom: ...})"
        )
    scene, name = read[0]
    for part, (spec, own) in zip(every[1:], read[1:], strict=True):
        # The first one's hold, said in `load`; the compiler would warn of each that differs.
        spec.option = scene.option
        _note_losses(part, spec, own, found)
        with explaining(own):
            frame = scene.worldbody.add_frame(pos=list(part.pos), quat=list(part.quat))
            scene.attach(spec, prefix=part.prefix, frame=frame)
    return scene, " + ".join([name, *(own for _, own in read[1:])])


def _note_losses(part: Part, spec: mujoco.MjSpec, name: str, found: Findings) -> None:
    """What a part loses in a scene, and keyframes that would not move along with it."""
    if spec.compiler.settotalmass > 0:
        found.note(f"{name}: settotalmass has no effect in a scene")
    placed = tuple(part.pos) != _PLACE or tuple(part.quat) != _TURN
    if spec.keys and placed:
        found.note(f"{name}: keyframes left out, the part is not where they have it")
        for key in list(spec.keys):
            spec.delete(key)


def _bounces(source: Source) -> bool:
    return "<restitution" in source_text(source)


def _check(parts: list[Part]) -> None:
    if not parts:
        raise ValueError("load([]): a scene has at least one part.")
    first = parts[0]
    if first.prefix or tuple(first.pos) != _PLACE or tuple(first.quat) != _TURN:
        raise ValueError(
            "load([...]): the first part is the world that the others stand in, it has no pose and "
            "no prefix. Put an empty scene or the ground first, e.g. '<mujoco/>'."
        )
    prefixes = [part.prefix for part in parts[1:]]
    if "" in prefixes or len({*prefixes}) < len(prefixes):
        raise ValueError(
            f"load([...]): the prefixes of the parts are {prefixes}: all but the first need one of "
            "their own, e.g. dojo.Part('cube.xml', prefix='cube/')."
        )
    for part in parts:
        if len(part.pos) != 3 or len(part.quat) != 4 or not any(part.quat):
            raise ValueError(
                f"Part(pos={part.pos}, quat={part.quat}): must be three numbers, and four of which "
                "one is not zero."
            )
