"""Settings from environment variables, read and validated once at the start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

SIX_DAYS_IN_SECONDS = 6 * 24 * 60 * 60


class SettingError(Exception):
    """A variable has an invalid value; the message names the variable and what was expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of the variables in `sample_app.__doc__`."""

    host: str | None = None
    port: int = 8080
    app_name: str | None = None
    region: str = "blank"
    machine_id: str = "blank"
    memory_mb: str = "blank"
    dns_server: tuple[str, int] | None = None
    discover_every_seconds: float = 10.0
    copies_streams: bool = False
    is_guarded: bool = False
    cookie_max_age_seconds: int = SIX_DAYS_IN_SECONDS
    stale_directory: str | None = None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingError."""
    env = {name: value for name, value in environment.items() if value}
    return Settings(
        host=env.get("HOST"),
        port=_whole_number(env, "PORT", 8080),
        app_name=env.get("FLY_APP_NAME"),
        region=env.get("FLY_REGION", "blank"),
        machine_id=env.get("FLY_MACHINE_ID", "blank"),
        memory_mb=env.get("FLY_VM_MEMORY_MB", "blank"),
        dns_server=parse_address(env["DNS_SERVER"]) if "DNS_SERVER" in env else None,
        discover_every_seconds=_seconds(env, "DISCOVER_EVERY_SECONDS", 10.0),
        copies_streams=_choice(env, "STREAM_DESIGN", "sticky", "copy") == "copy",
        is_guarded=_choice(env, "STICKY_GUARD", "0", "1") == "1",
        cookie_max_age_seconds=_whole_number(env, "COOKIE_MAX_AGE_SECONDS", SIX_DAYS_IN_SECONDS),
        stale_directory=_choice(env, "STALE_DIRECTORY", "self", "bounce")
        if "STALE_DIRECTORY" in env
        else None,
    )


def parse_address(text: str) -> tuple[str, int]:
    """An IP address, alone or with a port: `127.0.0.1:53`, `fdaa::3`, `[fdaa::3]:53`. Raises SettingError."""
    with_port = re.fullmatch(r"(\[.+\]|[^:]+):(\d+)", text)
    host, port = with_port.groups() if with_port else (text, "53")
    try:
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError as error:
        raise SettingError(
            f"DNS_SERVER is {text!r}, expected an address such as 127.0.0.1:53 or fdaa::3"
        ) from error


def _whole_number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise SettingError(f"{name} is {text!r}, expected an integer such as {default}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingError(f"{name} is {text!r}, expected a number of seconds such as {default:g}")
    return seconds


def _choice(env: Mapping[str, str], name: str, default: str, *others: str) -> str:
    text = env.get(name, default)
    if text not in (default, *others):
        raise SettingError(f"{name} is {text!r}, expected {' or '.join((default, *others))}")
    return text
