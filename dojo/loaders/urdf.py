"""URDF as people have it, made into what MuJoCo's compiler reads.

Meshes are searched for upwards from the file and, where the compiler does not read their format,
converted; the root link floats if it, or what is fixed to it, has inertia; impossible inertias are
named. What has no part
in a simulation goes: visual geometry (unless the file's MuJoCo extension keeps it), shapes of no
size, second definitions of a material.
"""

import dataclasses
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.meshes import readable
from dojo.loaders.motors import Motor, read_motors
from dojo.model.errors import ModelError

Root = Literal["fixed", "floating"]
_Element = ElementTree.Element
# What may stand before the first element, one thing at a time: as a whole, a comment that does not
# end would be tried with every end of those before it.
_AHEAD = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>]*>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ELEMENT = re.compile(r"<([\w:.-]+)")
# A prefix of an element or an attribute.
_PREFIX = re.compile(r"(</?|\s)([A-Za-z_][\w.-]*):(?=[A-Za-z_][\w.-]*[\s=/>])")
_ENDS = ("parent", "child")
# The link that a floating root hangs on: to the compiler it is the world itself.
_WORLD = "world"
_MOMENTS = {
    "ixx": (0, 0),
    "iyy": (1, 1),
    "izz": (2, 2),
    "ixy": (0, 1),
    "ixz": (0, 2),
    "iyz": (1, 2),
}
_SCHEMES = ("package://", "model://", "file://")
# Principal moments A, B, C of a body have A + B >= C; files round.
_ROUNDING = 1e-6
# A repaired body is at least this large [m]: the compiler refuses moments that are zero.
_LEAST_RADIUS = 1e-3


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user asks of a URDF, as `dojo.load` explains it."""

    root: Root | None
    repair_inertia: bool
    motors: bool


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A URDF for MuJoCo's compiler: its text, meshes by the names that it gives them, motors."""

    text: str
    assets: dict[str, bytes]
    motors: tuple[Motor, ...]


def is_urdf(text: str) -> bool:
    """Whether the first element of this XML is a robot."""
    start = 0
    while ahead := _AHEAD.match(text, start):
        start = ahead.end()
    first = _ELEMENT.match(text, start)
    return first is not None and first[1].rpartition(":")[2] == "robot"


def prepared(text: str, folder: Path, name: str, asked: Asked, found: Findings) -> Prepared:
    """The URDF of a file in `folder`, `name` for messages.

    Raises:
        ModelError: malformed XML, unexpanded macros, a mesh that is nowhere, an impossible
            inertia, no single root link.
    """
    # What xacro wrote often keeps macros as comments.
    if "<xacro:" in _COMMENT.sub("", text):
        raise ModelError(f"{name}: is a xacro. Expand it first: xacro FILE > robot.urdf.")
    robot = parsed(text, name)
    _without_visuals(robot, kept=_compiler(robot).get("discardvisual", "true") == "false")
    _without_empty_shapes(robot, found)
    _materials_once(robot)
    _with_root(robot, asked.root, name, found)
    _without_massless_inertias(robot, found)
    _checked_inertias(robot, asked.repair_inertia, name, found)
    assets = _with_meshes(robot, folder, name)
    motors = read_motors(robot, name) if asked.motors else ()
    # Links that are fixed to others keep their names.
    options = _compiler(robot)
    options.set("fusestatic", options.get("fusestatic", "false"))
    return Prepared(ElementTree.tostring(robot, encoding="unicode"), assets, motors)


def parsed(text: str, name: str) -> _Element:
    """The robot of a URDF, without namespaces.

    Raises:
        ModelError: it is malformed.
    """
    # Some files go on after their end, with bytes that are no XML; some use prefixes undeclared.
    body, end, _ = text.rpartition("</robot>")
    for form in (text, body + end, _PREFIX.sub(r"\1\2_", body + end)):
        try:
            robot = ElementTree.fromstring(form)
        except ElementTree.ParseError as error:
            reason = str(error)
            continue
        for element in robot.iter():
            if isinstance(element.tag, str):
                element.tag = element.tag.rpartition("}")[2]
        return robot
    raise ModelError(f"{name}: the XML is malformed: {reason}.")


def _compiler(robot: _Element) -> _Element:
    """The options of the MuJoCo extension."""
    extension = robot.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(robot, "mujoco")
    compiler = extension.find("compiler")
    return ElementTree.SubElement(extension, "compiler") if compiler is None else compiler


def _without_visuals(robot: _Element, kept: bool) -> None:
    for link in robot.findall("link"):
        for visual in [] if kept else link.findall("visual"):
            link.remove(visual)


def _without_empty_shapes(robot: _Element, found: Findings) -> None:
    empty = []
    for link in robot.findall("link"):
        for shape in [*link.findall("collision"), *link.findall("visual")]:
            if _empty(shape):
                link.remove(shape)
                empty.append(link.get("name", "?"))
    if empty:
        found.note(f"shapes without size left out, of links {listing(sorted(set(empty)))}")


def _empty(shape: _Element) -> bool:
    """Whether a box, sphere or cylinder has a side of zero."""
    sizes = [
        part.get(key, "")
        for part in shape.iterfind("geometry/*")
        for key in ("size", "radius", "length")
        if part.tag in ("box", "sphere", "cylinder", "capsule")
    ]
    try:
        return any(float(x) == 0.0 for size in sizes for x in size.split())
    except ValueError:
        return False  # the compiler names the number


def _materials_once(robot: _Element) -> None:
    """The compiler refuses a material that is defined twice: the first definition holds."""
    known = set()
    for material in robot.iter("material"):
        if len(material):
            if material.get("name") in known:
                for part in list(material):
                    material.remove(part)
            known.add(material.get("name"))


def _with_root(robot: _Element, root: Root | None, name: str, found: Findings) -> None:
    """Declares the world where joints only name it, and lets the root link float or not."""
    links = {link.get("name", "") for link in robot.findall("link")}
    joints = robot.findall("joint")
    ends = [{end.get("link", "") for end in robot.iterfind(f"joint/{tag}")} for tag in _ENDS]
    if _WORLD in ends[0] - links:
        ElementTree.SubElement(robot, "link", name=_WORLD)
        links.add(_WORLD)
    roots = sorted(links - ends[1])
    if len(roots) != 1:
        raise ModelError(
            f"{name}: {len(roots)} root links ({listing(roots) or 'none'}), must be one: every "
            "other link is the child of a joint."
        )
    masses = _masses(robot)
    heavy = any(masses.get(link, 0.0) > 0 for link in _fixed_to(robot, roots[0]))
    heavy &= roots[0] != _WORLD
    floats = heavy if root is None else root == "floating"
    if floats and _WORLD in links:
        raise ModelError(f"{name}: one of its links is called world, its root cannot float.")
    if floats:
        ElementTree.SubElement(robot, "link", name=_WORLD)
        taken = {joint.get("name") for joint in joints}
        free = next(n for n in ("root", "floating_base", "dojo_root") if n not in taken)
        joint = ElementTree.SubElement(robot, "joint", name=free, type="floating")
        ElementTree.SubElement(joint, "parent", link=_WORLD)
        ElementTree.SubElement(joint, "child", link=roots[0])
    if floats and root is None:
        found.note(
            f"root link {roots[0]} (or what is fixed to it) has inertia: it floats. "
            "dojo.load(..., root='fixed') welds it to the world"
        )
    elif heavy and not floats:
        found.note(f"root link {roots[0]} is welded to the world, its inertia has no effect")


def _fixed_to(robot: _Element, root: str) -> list[str]:
    """The root link and all that is fixed to it."""
    pairs = _fixed_pairs(robot)
    found = [root]
    for link in found:
        found += [child for parent, child in pairs if parent == link and child not in found]
    return found


def _fixed_pairs(robot: _Element) -> list[tuple[str, str]]:
    """Parents and children of fixed joints."""
    fixed = [joint for joint in robot.findall("joint") if joint.get("type") == "fixed"]
    ends = [[joint.find(tag) for tag in _ENDS] for joint in fixed]
    names = [["" if end is None else end.get("link", "") for end in pair] for pair in ends]
    return [(parent, child) for parent, child in names]


def _masses(robot: _Element) -> dict[str, float]:
    """Masses of the links that have one [kg]."""
    found = {}
    for link in robot.findall("link"):
        mass = link.find("inertial/mass")
        try:
            found[link.get("name", "")] = 0.0 if mass is None else float(mass.get("value", "0"))
        except ValueError:
            continue  # the compiler names the number
    return found


def _without_massless_inertias(robot: _Element, found: Findings) -> None:
    """Frames are often written as links without mass, with an inertia that no one means."""
    massless, masses = [], _masses(robot)
    for link in robot.findall("link"):
        element = link.find("inertial/inertia")
        inertia = None if element is None else _inertia(element)
        if element is None or inertia is None or not inertia.any():
            continue
        if masses.get(link.get("name", "")) == 0.0:
            massless.append(link.get("name", ""))
            for key in _MOMENTS:
                element.set(key, "0")
    if massless:
        found.note(f"inertias of links without mass have no effect: {listing(massless)}")


def _checked_inertias(robot: _Element, repair: bool, name: str, found: Findings) -> None:
    """Names links whose inertia no body can have, or makes it possible."""
    options = _compiler(robot)
    if "true" in (options.get("balanceinertia"), options.get("inertiafromgeom")):
        return  # the compiler has other ones
    masses, fused = _masses(robot), {child for _, child in _fixed_pairs(robot)}
    wrong = []
    for link in robot.findall("link"):
        own = link.get("name", "")
        element = link.find("inertial/inertia")
        inertia = None if element is None else _inertia(element)
        if element is None or inertia is None or not masses.get(own, 0.0) > 0:
            continue
        if not np.isfinite(inertia).all():
            raise ModelError(f"{name}: the inertia of link {own} holds a NaN or an infinity.")
        # What is fixed to another link may be a point.
        if possible(inertia) or (own in fused and not inertia.any()):
            continue
        rounded = possible(inertia, _ROUNDING)
        if not rounded:
            wrong.append(own)
        if repair or rounded:
            nearest = nearest_possible(inertia, masses[own])
            for key, (i, j) in _MOMENTS.items():
                element.set(key, repr(float(nearest[i, j])))
    if wrong and not repair:
        raise ModelError(
            f"{name}: no body has the inertia of links {listing(wrong)}: its moments must be "
            "positive, and two of them together at least the third. Correct them, or take the "
            "nearest possible ones: dojo.load(..., repair_inertia=True)."
        )
    if wrong:
        found.note(f"impossible inertias repaired, of links {listing(wrong)}")


def _inertia(element: _Element) -> np.ndarray | None:
    matrix = np.zeros((3, 3))
    for key, (i, j) in _MOMENTS.items():
        try:
            matrix[i, j] = matrix[j, i] = float(element.get(key, "0"))
        except ValueError:
            return None  # the compiler names the number
    return matrix


def _spread(inertia: np.ndarray) -> np.ndarray:
    """Integral of x x^T over the mass: tr(J) / 2 - J, as positive as that of any body."""
    return 0.5 * np.trace(inertia) * np.eye(3) - inertia


def possible(inertia: np.ndarray, rounding: float = 0.0) -> bool:
    """Whether a body may have this inertia (3, 3) about its centre of mass.

    rounding: how much of the largest moment the others may miss.
    """
    moments = np.linalg.eigvalsh(inertia)
    spread = np.linalg.eigvalsh(_spread(inertia))
    return bool(moments[0] > 0 and spread[0] >= -rounding * moments[-1])


def nearest_possible(inertia: np.ndarray, mass: float) -> np.ndarray:
    """The inertia (3, 3) of a body whose spread of mass is nearest to that asked for.

    In the Frobenius norm of the integral of x x^T, whose eigenvalues are cut off below: at those of
    a body of 1 mm, or at the rounding of what there is if that is less. Source: Wensing, Kim,
    Slotine, IEEE RA-L 3 (2018) 60, for the condition.
    """
    values, vectors = np.linalg.eigh(_spread(inertia))
    least = mass * _LEAST_RADIUS**2
    if values[0] >= -_ROUNDING * np.abs(values).max():
        least = min(least, 1e-9 * values[-1])
    spread = vectors @ np.diag(np.maximum(values, least)) @ vectors.T
    return np.trace(spread) * np.eye(3) - spread


def _with_meshes(robot: _Element, folder: Path, name: str) -> dict[str, bytes]:
    """Points every mesh at an asset, and returns these."""
    compiler = _compiler(robot)
    asset_dir = compiler.attrib.pop("assetdir", "")
    base = folder.absolute() / (compiler.attrib.pop("meshdir", "") or asset_dir)
    compiler.set("strippath", "false")
    assets: dict[str, bytes] = {}
    names: dict[Path, str] = {}
    for mesh in robot.iterfind("link/*/geometry/mesh"):
        asked = mesh.get("filename", "")
        path = located(asked, base, folder.absolute())
        if path is None:
            raise ModelError(
                f"{name}: mesh {asked!r} is not there. Looked for it from {folder.absolute()} "
                "upwards, with and without the first folders of its path. Put the package's folder "
                "above the file, or correct the path."
            )
        if path not in names:
            data, suffix = readable(path, f"{name}: mesh {asked!r}")
            names[path] = _free_name(path.stem, suffix, assets)
            assets[names[path]] = data
        mesh.set("filename", names[path])
    return assets


def _free_name(stem: str, suffix: str, taken: dict[str, bytes]) -> str:
    name, count = stem + suffix, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}{suffix}"
    return name


def located(asked: str, base: Path, folder: Path) -> Path | None:
    """The file that a mesh's path means, from `base`, the file's folder, and those above it.

    The path whole, or without its first folders (a package's name, or the place of the package on
    another machine); its bare name only in `base` and beside the file, where MuJoCo's compiler
    looks as well.
    """
    # os.path, which finds no file where a path is none: too long, or with a zero in it.
    rest = asked.replace("\\", "/")
    for scheme in _SCHEMES:
        rest = rest.removeprefix(scheme)
    if not rest:
        return None
    if os.path.isfile(rest) and Path(rest).is_absolute():
        return Path(rest)
    parts = [part for part in Path(rest).parts if part != "/"]
    for k in range(len(parts)):
        bare = k == len(parts) - 1 > 0
        for place in (base, folder) if bare else (base, folder, *folder.parents):
            if os.path.isfile(place / Path(*parts[k:])):
                return (place / Path(*parts[k:])).resolve()
    return None
