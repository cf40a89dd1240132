"""Time to load robots: a chain of fifty links that may all touch, those of models/, other files.

    python loading.py --out results/loading.json
    python loading.py --suite ../../shared/models_suite

Each is loaded once to warm up (the first in a process also starts JAX), then three times: the
median counts.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import dojo

LINKS, REPEATS = 50, 3


def chain(links: int) -> str:
    """Links with two geoms each and a servo, on a floor."""
    bodies = "".join(
        f'<body pos="0 0 .1"><joint name="j{k}" axis="0 {k % 2} {1 - k % 2}" range="-60 60"/>'
        '<geom type="capsule" size=".02 .04"/><geom type="box" size=".02 .03 .01" pos=".05 0 0"/>'
        for k in range(links)
    )
    servos = "".join(f'<position joint="j{k}" kp="10"/>' for k in range(links))
    return (
        f'<mujoco><worldbody><geom type="plane" size="1 1 1"/>{bodies}{"</body>" * links}'
        f"</worldbody><actuator>{servos}</actuator></mujoco>"
    )


def measured(source: str | Path) -> dict[str, float] | None:
    """Seconds to load, and what was loaded; None if it is refused."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        try:
            model = dojo.load(source)
        except dojo.ModelError:
            return None
        times.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(times[1:]),
        "links": model.topology.nl,
        "contact candidates": model.topology.nc,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, help="folder of further MJCF and URDF files")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    sources: dict[str, str | Path] = {f"chain of {LINKS} links": chain(LINKS)}
    sources |= {name: dojo.models.path(name) for name in dojo.models.names()}
    if args.suite:
        manifest = json.loads((args.suite / "manifest.json").read_text())
        sources |= {entry["path"]: args.suite / entry["path"] for entry in manifest}
    dojo.load(chain(2))
    results = {}
    for name, source in sources.items():
        if found := measured(source):
            results[name] = found
            print(f"{found['seconds']:7.3f} s  {found['links']:4d} links  {name}", flush=True)
    if args.out:
        head = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine()}
        args.out.write_text(json.dumps(head | {"robots": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
