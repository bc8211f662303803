"""Adapter to mitmproxy, and the only package that imports it."""

from simulator.proxy.package_stub import stub_package

stub_package("mitmproxy.addons")  # before a module of this package imports one of the addons

from simulator.proxy.core import ProxyCore  # noqa: E402
from simulator.proxy.server import ProxyServer  # noqa: E402

__all__ = ["ProxyCore", "ProxyServer"]
