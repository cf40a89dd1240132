"""3-D viewer: the model's geometry in a meshcat scene, live in a browser or as one HTML file.

Use::

    viewer = Visualizer(model)
    viewer.play(states)           # states.q: (T, nq), as a rollout returns them
    viewer.save("rollout.html")   # plays in any browser, without server and network
"""

import warnings

with warnings.catch_warnings():
    # meshcat 0.3.2 imports a module that pyzmq has deprecated; its users can do nothing about it.
    warnings.filterwarnings("ignore", message="zmq.eventloop", category=DeprecationWarning)
    from dojo.viewer.visualizer import Visualizer

__all__ = ["Visualizer"]
