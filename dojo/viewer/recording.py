"""Record of everything sent to a meshcat scene, so that a file can be written without a server."""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import umsgpack  # type: ignore[import-untyped]
import zmq
from meshcat.visualizer import ViewerWindow

from dojo.viewer.page import render_page

_ANSWER_TIMEOUT_MS = 10_000
_START_TIMEOUT = 30.0  # [s]
_WITHOUT_SERVER = "html() and save(path) work without a server"

_Key = tuple[str, ...]


class Recording:
    """Stands where meshcat has its `ViewerWindow`: keeps each command that still matters, packed as
    meshcat packs it, and passes it on to a live server if there is one."""

    def __init__(self, live: ViewerWindow | None = None) -> None:
        self._messages: dict[_Key, bytes] = {}  # in the order in which they are to be replayed
        self._live = live
        if live is not None:
            _limit_waiting(live)

    def send(self, command: Any) -> None:
        """Record one meshcat command, and pass it on. RuntimeError if the server is silent."""
        data = command.lower()
        packed = umsgpack.packb(data)
        self._record(data, packed)
        if self._live is not None:
            self._transmit(data["type"], data["path"], packed)

    def messages(self) -> list[bytes]:
        """The packed commands which rebuild the scene, in order."""
        return list(self._messages.values())

    def get_scene(self) -> str:
        """The scene as one HTML page; meshcat's `static_html` and `render_static` call this."""
        return render_page(self.messages())

    @property
    def web_url(self) -> str:
        """Address of the live server, which is started, with the whole scene, if there is none."""
        if self._live is None:
            self._live = _start_server()
            for (kind, path, *_), packed in self._messages.items():
                self._transmit(kind, path, packed)
        return str(self._live.web_url)

    def open(self) -> None:
        """Open the live scene in the default browser."""
        _ = self.web_url
        assert self._live is not None
        self._live.open()

    def _record(self, data: dict[str, Any], packed: bytes) -> None:
        kind, path = data["type"], data["path"]
        if kind == "delete":
            self._forget(lambda key: f"{key[1]}/".startswith(f"{path}/"))
        elif kind == "set_object":
            # A new object starts without the properties of the one that it replaces.
            self._forget(lambda key: key[1] == f"{path}/<object>")
        key = (kind, path, data.get("property", ""))
        self._messages.pop(key, None)  # a repeated command moves to the end
        if kind != "set_animation" or data["animations"]:
            self._messages[key] = packed

    def _forget(self, condition: Callable[[_Key], bool]) -> None:
        self._messages = {k: m for k, m in self._messages.items() if not condition(k)}

    def _transmit(self, kind: str, path: str, packed: bytes) -> None:
        assert self._live is not None
        socket = self._live.zmq_socket
        try:
            socket.send_multipart([kind.encode(), path.encode(), packed])
            socket.recv()
        except zmq.ZMQError as error:
            socket.close()  # a request socket is of no use once an answer is missing
            self._live = None
            raise RuntimeError(
                f"the meshcat server stopped answering ({error}); {_WITHOUT_SERVER}, and reading "
                "url starts a new server"
            ) from error


def _limit_waiting(window: ViewerWindow) -> None:
    """Make a dead server an error, not a wait without end, on each message and on exit."""
    window.zmq_socket.setsockopt(zmq.RCVTIMEO, _ANSWER_TIMEOUT_MS)
    window.zmq_socket.setsockopt(zmq.SNDTIMEO, _ANSWER_TIMEOUT_MS)
    window.zmq_socket.setsockopt(zmq.LINGER, 0)


def _start_server() -> ViewerWindow:
    """Start meshcat's server process. RuntimeError if it fails or does not start in time."""
    started: list[ViewerWindow] = []
    failure: list[BaseException] = []

    def start() -> None:
        try:
            started.append(ViewerWindow(zmq_url=None, start_server=True, server_args=[]))
        except Exception as error:
            failure.append(error)

    # meshcat waits for the first line of the server's output, forever if need be.
    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(_START_TIMEOUT)
    if not started:
        reason = failure[0] if failure else f"no answer within {_START_TIMEOUT:g} s"
        raise RuntimeError(f"the meshcat server did not start ({reason}); {_WITHOUT_SERVER}")
    _limit_waiting(started[0])
    # The server itself stays until Python ends: its page may outlive the Visualizer.
    weakref.finalize(started[0], started[0].zmq_socket.close)
    return started[0]
