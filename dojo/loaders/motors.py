"""Motors of a URDF: its transmissions, or its joints' efforts."""

import dataclasses
import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from dojo.model.errors import ModelError


@dataclasses.dataclass(frozen=True)
class Motor:
    """A motor of a joint."""

    name: str
    joint: str
    gear: float
    largest: float  # control [N m or N], 0 if it has no end


def read_motors(robot: Element, name: str) -> tuple[Motor, ...]:
    """Those of the transmissions; without any, one for each joint that moves by itself.

    Raises:
        ModelError: a transmission of a joint that cannot have one, or with a reduction of zero.
    """
    efforts = {
        joint.get("name", ""): _effort(joint)
        for joint in robot.findall("joint")
        if joint.get("type") in ("revolute", "continuous", "prismatic")
        and joint.find("mimic") is None
    }
    transmissions = robot.findall("transmission")
    if not transmissions:
        return tuple(Motor(joint, joint, 1.0, effort) for joint, effort in efforts.items())
    motors = [motor for each in transmissions for motor in _of_transmission(each, efforts, name)]
    if not motors:
        raise ModelError(f"{name}: its transmissions have no joints. Give them some, or drop them.")
    return tuple(motors)


def _of_transmission(
    transmission: Element, efforts: dict[str, float], name: str
) -> Iterator[Motor]:
    joints = transmission.findall("joint")
    for joint in joints:
        driven = joint.get("name", "")
        own = transmission.get("name", driven)
        # Where several joints share a transmission, each counts for itself.
        own = f"{own}/{driven}" if len(joints) > 1 else own
        reduction = joint.find("mechanicalReduction")
        if reduction is None:
            reduction = transmission.find("actuator/mechanicalReduction")
        gear = 1.0 if reduction is None else _as_number(reduction.text, 1.0)
        if driven not in efforts or gear == 0 or not math.isfinite(gear):
            raise ModelError(
                f"{name}: transmission {own} of joint {driven!r} with reduction {gear:g}: must "
                "be of a joint that moves by itself, with a reduction that is not zero."
            )
        yield Motor(own, driven, gear, efforts[driven] / abs(gear))


def _effort(joint: Element) -> float:
    """Largest torque or force of a joint, 0 where the file has no positive number."""
    limit = joint.find("limit")
    effort = 0.0 if limit is None else _as_number(limit.get("effort"), 0.0)
    return effort if math.isfinite(effort) and effort > 0 else 0.0


def _as_number(text: str | None, default: float) -> float:
    """The number that a text is; the default where it is none, which the compiler names."""
    try:
        return float(text) if text else default
    except ValueError:
        return default
