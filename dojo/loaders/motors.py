"""Motors of a URDF: its transmissions, or its joints' efforts."""

import dataclasses
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
        joint.get("name", ""): _number(joint.find("limit"), "effort", 0.0)
        for joint in robot.findall("joint")
        if joint.get("type") in ("revolute", "continuous", "prismatic")
        and joint.find("mimic") is None
    }
    transmissions = robot.findall("transmission")
    if not transmissions:
        return tuple(Motor(joint, joint, 1.0, effort) for joint, effort in efforts.items())
    motors = []
    for transmission in transmissions:
        for joint in transmission.findall("joint"):
            own, driven = transmission.get("name", "motor"), joint.get("name", "")
            gear = 1.0
            for element in transmission.iter("mechanicalReduction"):
                gear = _as_number(element.text, 1.0)
            if driven not in efforts or gear == 0:
                raise ModelError(
                    f"{name}: transmission {own} of joint {driven!r} with reduction {gear:g}: must "
                    "be of a joint that moves by itself, with a reduction that is not zero."
                )
            motors.append(Motor(own, driven, gear, abs(efforts[driven] / gear)))
    return tuple(motors)


def _number(element: Element | None, key: str, default: float) -> float:
    return default if element is None else _as_number(element.get(key), default)


def _as_number(text: str | None, default: float) -> float:
    """The number that a text is; the default where it is none, which the compiler names."""
    try:
        return float(text) if text else default
    except ValueError:
        return default
