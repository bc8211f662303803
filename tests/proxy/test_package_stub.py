"""Imports of the proxy, in a process of its own: single addons of mitmproxy, and all of them when they are needed."""

from __future__ import annotations

import subprocess
import sys

UNUSED = ("flask", "ldap3", "passlib", "werkzeug", "dns.resolver", "mitmproxy.addons.onboarding")
"""Packages of addons that flysim does not use."""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_proxy_imports_no_addon_that_it_does_not_use() -> None:
    program = f"import sys, simulator.proxy; print([name for name in {UNUSED} if name in sys.modules])"
    assert run(program) == "[]"


def test_all_addons_are_there_for_those_who_need_them() -> None:
    program = """
import simulator.proxy
from mitmproxy.addons import default_addons, core
import mitmproxy.addons
print(len(default_addons()) > 25, core.Core is type(default_addons()[0]), type(mitmproxy.addons).__name__)
"""
    assert run(program) == "True True module"


def test_a_package_that_was_imported_before_stays() -> None:
    program = """
import sys, mitmproxy.addons as before
import simulator.proxy
print(sys.modules["mitmproxy.addons"] is before)
"""
    assert run(program) == "True"
