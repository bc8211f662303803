"""Import of single addons of mitmproxy, without the package that imports all forty of them.

`mitmproxy/addons/__init__.py` costs 0.3 s and 25 MB: flask, ldap3, passlib, and more that flysim does not use.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class PackageStub(ModuleType):
    """Takes the place of a package whose `__init__` has not run. It runs when one of its names is needed."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        is_module = (
            importlib.util.find_spec(f"{self.__name__}.{name}") is not None
        )  # `from package import module`
        if is_module or name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def stub_package(name: str) -> None:
    """Let `import {name}.module` import that module only. Without effect if the package has been imported."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    stub = PackageStub(name)
    stub.__spec__, stub.__path__ = spec, list(spec.submodule_search_locations)
    stub.__file__ = spec.origin
    sys.modules[name] = stub
    parent, _, child = name.rpartition(".")
    setattr(sys.modules[parent], child, stub)
