"""Microseconds a step against the number of free bodies: dojo, MuJoCo C and MJX on one core.

    python benchmarks/scaling.py --counts 1 2 5 10 20 50 --out scaling.json --plot scaling.png

Bodies dropped in layers of four into a pile; each engine settles it, then is timed, as in
`speed.py`. One environment, all engines at the file's options; dojo with its default contact
budget. The exponent beside a row is that of the growth since the row before.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

from speed import Row, measure_path, prepare_process, report

GEOMS = {
    "spheres": '<geom size=".05" mass=".5"/>',
    "boxes": '<geom type="box" size=".05 .04 .03" mass=".5"/>',
}


def main() -> None:
    """Run the benchmark, print a line for each measurement, plot them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 2, 5, 10, 20])
    parser.add_argument("--kinds", nargs="+", choices=GEOMS, default=list(GEOMS))
    parser.add_argument("--engines", nargs="+", default=["mujoco", "mjx", "dojo"])
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    prepare_process()
    import jax

    jax.config.update("jax_enable_x64", args.x64)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            for engine in args.engines:
                for count in args.counts:
                    path = Path(folder) / f"{kind}_{count}.xml"
                    path.write_text(pile(kind, count))
                    rows.append(measure_path(engine, f"{count} {kind}", str(path), 1))
                    print(line(rows), flush=True)
                    # After every row: those of many bodies take long.
                    if args.out:
                        args.out.write_text(json.dumps(report(rows, args.x64), indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)


def pile(kind: str, count: int) -> str:
    """MJCF of bodies over a floor, four a layer, a little askew."""

    def place(k: int) -> str:
        x = 0.11 * (k % 2) + 0.004 * (k % 7)
        y = 0.11 * (k // 2 % 2) + 0.003 * (k % 5)
        return f"{x:.3f} {y:.3f} {0.06 + 0.12 * (k // 4):.3f}"

    bodies = "".join(
        f'<body pos="{place(k)}"><freejoint/>{GEOMS[kind]}</body>' for k in range(count)
    )
    return (
        '<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="3 3 .1"/>'
        f"{bodies}</worldbody></mujoco>"
    )


def bodies_of(row: Row) -> tuple[int, str]:
    count, kind = row.model.split()
    return int(count), kind


def line(rows: list[Row]) -> str:
    """The last row as text."""
    row = rows[-1]
    text = f"{row.model:12s} {row.engine:7s} {row.microseconds:10.1f} us"
    text += f"  compile {row.compile_seconds:5.1f} s" if row.compile_seconds else ""
    count, kind = bodies_of(row)
    if len(rows) > 1 and rows[-2].engine == row.engine and bodies_of(rows[-2])[1] == kind:
        growth = math.log(row.microseconds / rows[-2].microseconds)
        text += f"  exponent {growth / math.log(count / bodies_of(rows[-2])[0]):4.2f}"
    if row.converged is not None:
        text += f"  converged {100 * row.converged:.1f} %  iterations {row.iterations:.1f}"
    return text


def plot(rows: list[Row], path: Path) -> None:
    """Time a step against the number of bodies, a line for each engine and kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    colours = {"mujoco": "tab:gray", "mjx": "tab:orange", "dojo": "tab:blue"}
    for kind, style in (("spheres", "-"), ("boxes", "--")):
        for engine, colour in colours.items():
            found = [r for r in rows if r.engine == engine and bodies_of(r)[1] == kind]
            if found:
                counts = [bodies_of(r)[0] for r in found]
                times = [r.microseconds for r in found]
                label = f"{engine}, {kind}"
                axes.loglog(counts, times, style, color=colour, marker="o", label=label)
    axes.set_xlabel("free bodies")
    axes.set_ylabel("microseconds a step, one environment")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
