"""Adapter to mitmproxy, and the only package that imports it."""

from simulator.proxy.core import ProxyCore
from simulator.proxy.server import ProxyServer

__all__ = ["ProxyCore", "ProxyServer"]
