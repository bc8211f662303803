"""HTML page of the app, rendered on the server; its script then keeps it up to date."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from sample_app.directory import Directory, Machine
from sample_app.settings import Settings

FOLDER = Path(__file__).parent / "static"


def render_page(settings: Settings, directory: Directory, watched: Machine, parameter: str) -> str:
    own = directory.own
    tabs = "\n".join(
        _tab(machine, own=own, watched=watched, parameter=parameter) for machine in directory.machines
    )
    values = {
        "region": own.region,
        "city": own.city,
        "machine": own.id,
        "memory": f"{settings.memory_mb} MB" if settings.memory_mb.isdigit() else settings.memory_mb,
        "creator": watched.creator,
        "host": watched.id,
        "host_city": watched.city,
        "parameter": parameter,
    }
    return _template().substitute({name: escape(text) for name, text in values.items()}, tabs=tabs)


def _tab(machine: Machine, *, own: Machine, watched: Machine, parameter: str) -> str:
    """`page.js` builds the same element when the list of machines changes."""
    id = escape(machine.id)
    current = ' aria-current="page"' if machine == watched else ""
    here = '<span class="here">here</span>' if machine == own else ""
    return (
        f'<a href="/?{parameter}={id}" data-machine="{id}"{current}>'
        f"<strong>{escape(machine.creator)}</strong><small>{escape(machine.city)}</small>{here}</a>"
    )


@cache
def _template() -> Template:
    return Template((FOLDER / "index.html").read_text(encoding="utf-8"))
