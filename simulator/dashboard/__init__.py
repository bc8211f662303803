"""Control API of a running simulator, its event stream, and its web page."""

from simulator.dashboard.app import make_app
from simulator.dashboard.controls import Controls
from simulator.dashboard.server import ControlServer
from simulator.dashboard.stream import Streams

__all__ = ["ControlServer", "Controls", "Streams", "make_app"]
