"""What sensors are at, as part of a topology."""

import dataclasses

import numpy as np

from dojo.model.hashing import ContentHashed


@dataclasses.dataclass(frozen=True, eq=False)
class Subtree(ContentHashed):
    """A body and all that it carries.

    Of a body that is merged into a link, its own share of that link stands apart.
    """

    links: np.ndarray  # (k,) links that belong to it as a whole
    link: int  # that a share of belongs to it, -1 if none
    share: float  # of the link's mass that belongs to it; of the world, its mass [kg]
    com: np.ndarray  # (3,) [m] of the share, in the link
    gyration: np.ndarray  # (3, 3) [m2] its inertia about it over its mass, link axes
    geoms: np.ndarray  # (ng,) bool: of the subtree
    own_geoms: np.ndarray  # (ng,) bool: of the body alone


@dataclasses.dataclass(frozen=True, eq=False)
class Sensor(ContentHashed):
    """Something that is measured."""

    name: str
    kind: str  # MuJoCo's name
    size: int  # numbers that it gives
    index: int  # of the joint, tendon or actuator, -1 if none
    frame: int  # in Model.sensor_pos, of the frame that it is at, -1 if none
    reference: int  # likewise, of the frame that it is measured in; -1: the world
    subtree: Subtree | None  # of the body that it is at, where that matters
    zone: tuple[str, tuple[float, ...]] | None  # shape and size [m] of what feels touch
    cutoff: float  # absolute values end here, 0: nowhere
