"""Pictures of the robots that come with the engine: docs/figures/models/*.png.

Each stands in its keyframe "home", if it has one, as the viewer shows it. Needs Debian's chromium.

    python docs/figures/models.py            # all of them
    python docs/figures/models.py ant atlas
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

import dojo

PICTURES = Path(__file__).resolve().parent / "models"
SIZE = 480, 360
COLOURS = 128
BARE = "<style>.dg { display: none; }</style></body>"
BROWSER = [
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--virtual-time-budget=1000",
]


def picture(name: str, folder: Path) -> Path:
    """Draw a robot; returns the file."""
    model = dojo.models.load(name)
    keys = [key.name for key in model.topology.keyframes]
    viewer = dojo.Visualizer(model)
    viewer.show(dojo.init(model, keyframe="home" if "home" in keys else None))
    page, shot = folder / f"{name}.html", folder / f"{name}.png"
    page.write_text(viewer.html().replace("</body>", BARE), encoding="utf-8")
    options = [
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={SIZE[0]},{SIZE[1]}",
        f"--screenshot={shot}",
    ]
    subprocess.run([*BROWSER, *options, page.as_uri()], capture_output=True, check=True, timeout=90)
    target = PICTURES / f"{name}.png"
    # A few colours and no dithering: a tenth of the size.
    image = Image.open(shot).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", default=dojo.models.names())
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().names:
            target = picture(name, Path(folder))
            print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    main()
