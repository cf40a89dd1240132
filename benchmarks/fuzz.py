"""Damaged model files: each gives a model or a ModelError, or a crash, a hang, a raw traceback.

    python benchmarks/fuzz.py --files 10000 --out benchmarks/results/fuzz.json
    python benchmarks/fuzz.py --suite PATH --files 10000 ...      other people's files as well
    python benchmarks/fuzz.py --show 123                           what file 123 looks like

Every file follows from its number: one of the models, with one to three mutations of its elements,
attributes, numbers or bytes. Loading happens in a process of its own, which may die or hang.
"""

import argparse
import copy
import json
import os
import random
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib.metadata import version
from pathlib import Path
from xml.etree.ElementTree import Element

from rich.progress import track

MODELS = Path(__file__).parents[1] / "models"
LIMIT = 60.0  # [s] a file may take
NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "0",
    "-1",
    "1e300",
    "1e-300",
    "-0.5",
    "",
    "x",
    "1e3",
    "2 3",
)
NAMES = ("", "world", "nobody", "a" * 5000, "\u00e9\u6f22", "joint0", "/", "../../etc", "&amp;")


@cache
def sources(suite: str | None) -> tuple[Path, ...]:
    """The files that are mutated."""
    folders = [MODELS, *([Path(suite)] if suite else [])]
    found = [f for folder in folders for kind in ("xml", "urdf") for f in folder.rglob(f"*.{kind}")]
    return tuple(sorted(f for f in found if not f.name.startswith(".")))


def mutated(number: int, suite: str | None) -> tuple[Path, bytes]:
    """A file, and what became of it."""
    chance = random.Random(number)
    path = chance.choice(sources(suite))
    data = path.read_bytes()
    change = by_bytes if chance.random() < 0.15 else by_element
    for _ in range(chance.randint(1, 3)):
        data = change(data, chance)
    return path, data


def by_element(data: bytes, chance: random.Random) -> bytes:
    """The XML with one of its elements or attributes changed; as it was if it is none."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError, LookupError):
        return by_bytes(data, chance)
    parents = [element for element in root.iter() if len(element)]
    if not parents:
        return by_bytes(data, chance)
    parent = chance.choice(parents)
    element = parent[chance.randrange(len(parent))]
    alike = [other for other in parents if other.tag == parent.tag]
    rough: list[Callable[[], object]] = [
        lambda: parent.remove(element),
        lambda: chance.choice(alike).append(copy.deepcopy(element)),
        lambda: setattr(element, "tag", chance.choice(list(root.iter())).tag),
    ]
    if chance.random() < 0.15:
        chance.choice(rough)()
    else:
        _attribute(chance.choice(list(root.iter())), root, chance)
    return ElementTree.tostring(root)


def _attribute(element: Element, root: Element, chance: random.Random) -> None:
    """One attribute gets another number, the value of another element, or goes."""
    if not element.attrib:
        element.set("name", chance.choice(NAMES))
        return
    key = chance.choice(list(element.attrib))
    values = element.attrib[key].split() or [""]
    at = chance.randrange(len(values))
    same = [other.attrib[key] for other in root.iter() if key in other.attrib]
    kind = chance.random()
    if kind < 0.6:
        values[at] = _number(values[at], chance)
        element.set(key, " ".join(values))
    elif kind < 0.85:
        element.set(key, chance.choice([*same, *NAMES]))
    else:
        del element.attrib[key]


def _number(text: str, chance: random.Random) -> str:
    try:
        number = float(text)
    except ValueError:
        return chance.choice(NUMBERS)
    other = [-number, 0.0, 1e-6 * number, 1e6 * number, 0.1 * number, 3.0 * number]
    return chance.choice([*(repr(x) for x in other), *NUMBERS])


def by_bytes(data: bytes, chance: random.Random) -> bytes:
    """The file cut off, or with some bytes changed, gone or twice there."""
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.randint(1, 40))
    noise = bytes(chance.randrange(256) for _ in range(chance.randint(1, 6)))
    return chance.choice(
        [data[:at], data[:at] + noise + data[end:], data[:at] + data[end:], data[:end] + data[at:]]
    )


def silenced() -> None:
    """The other process, without MuJoCo's warnings."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def loader() -> ProcessPoolExecutor:
    """The process that loads."""
    return ProcessPoolExecutor(1, initializer=silenced)


def loaded(number: int, suite: str | None) -> str:
    """What loading a file comes to; runs in the other process."""
    import dojo

    path, data = mutated(number, suite)
    # Beside its source, where its meshes and includes are.
    file = path.with_name(f".fuzz{os.getpid()}{path.suffix}")
    try:
        file.write_bytes(data)
        dojo.load(file)
    except dojo.UnsupportedFeature:
        return "refused feature"
    except dojo.ModelError:
        return "refused file"
    except BaseException as error:  # anything is to be told
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        file.unlink(missing_ok=True)
    return "model"


def run(files: int, start: int, suite: str | None) -> dict[str, object]:
    """Outcomes of so many files, and the numbers of those that came to no good."""
    counts: Counter[str] = Counter()
    bad: dict[int, str] = {}
    pool, slowest = loader(), 0.0
    for number in track(range(start, start + files), description="files"):
        begun = time.perf_counter()
        try:
            outcome = pool.submit(loaded, number, suite).result(LIMIT)
        except BrokenProcessPool:
            outcome, pool = "crash", loader()
        except TimeoutError:
            outcome = "hang"
            for process in pool._processes.values():
                process.kill()
            pool = loader()
        slowest = max(slowest, time.perf_counter() - begun)
        good = outcome in ("model", "refused file", "refused feature")
        counts[outcome if good else outcome.split(":")[0]] += 1
        if not good:
            bad[number] = outcome
            # A process that died left its file.
            for left in mutated(number, suite)[0].parent.glob(".fuzz*"):
                left.unlink()
            print(number, outcome, file=sys.stderr)
    pool.shutdown()
    return {"outcomes": dict(counts), "bad": bad, "slowest_s": round(slowest, 1)}


def main() -> None:
    """Run, and print or write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--suite", help="folder of further MJCF and URDF files; written to")
    parser.add_argument("--show", type=int, metavar="NUMBER")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.show is not None:
        path, data = mutated(args.show, args.suite)
        print(path)
        sys.stdout.buffer.write(data)
        return
    versions = {name: version(name) for name in ("mujoco", "dojo-sim")}
    found = {"files": args.files, "start": args.start, "versions": versions}
    found |= run(args.files, args.start, args.suite)
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
