"""One HTML file with meshcat's viewer and the scene in it."""

import base64
from collections.abc import Sequence
from importlib.resources import files

# meshcat's own static page feeds each command through an asynchronous fetch, in no certain order;
# here they are decoded in place, in the order in which they were given. The empty icon keeps a
# browser from asking a server for one.
_PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<title>dojo</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 0; }}
#meshcat-pane {{ width: 100vw; height: 100vh; overflow: hidden; }}
</style>
</head>
<body>
<div id="meshcat-pane"></div>
<script>
{viewer}
</script>
<script>
const viewer = new MeshCat.Viewer(document.getElementById("meshcat-pane"));
for (const command of [
{commands}
]) {{
    viewer.handle_command_bytearray(Uint8Array.from(atob(command), (c) => c.charCodeAt(0)));
}}
</script>
</body>
</html>
"""


def render_page(messages: Sequence[bytes]) -> str:
    """HTML page that replays `messages` (packed meshcat commands) when it is loaded."""
    viewer = files("meshcat").joinpath("viewer/dist/main.min.js").read_text(encoding="utf-8")
    commands = ",\n".join(f'"{base64.b64encode(message).decode()}"' for message in messages)
    return _PAGE.format(viewer=viewer, commands=commands)
