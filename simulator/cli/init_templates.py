"""Templates of `flysim init`: a flysim.toml and a first scenario, filled from the files in the app's folder."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHELL_CHARACTERS = re.compile(r"[$&|;<>`]")
_PROCFILE_WEB = re.compile(r"^web:\s*(.+?)\s*$", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s*(CMD|ENTRYPOINT)\s+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(r"^\s*#.*\n", re.MULTILINE)
_HERE_DOCUMENT = re.compile(r"<<-?(['\"]?)(\w+)\1.*?^\s*\2$", re.MULTILINE | re.DOTALL)
DEFAULT_REGION, OTHER_REGION = "ams", "dfw"


@dataclass(frozen=True, slots=True)
class InitTemplate:
    """The values that `flysim init` found for an app."""

    app: str
    region: str
    has_fly_toml: bool
    command: str | None
    """None if fly.toml has the command."""
    has_dockerfile: bool
    """False if fly.toml names an image instead."""
    path: str
    """The path that the first scenario requests: that of a health check, else `/`."""
    is_https_only: bool

    @property
    def other_region(self) -> str:
        return OTHER_REGION if self.region != OTHER_REGION else DEFAULT_REGION

    def config_text(self) -> str:
        lines = [
            "# How `flysim up` runs this app on this computer. All keys: docs/configuration.md of flysim.",
            "version = 1",
            "",
            "[edges]                    # where clients connect",
            f"{self.region} = 8080",
            f"{self.other_region} = 8081",
            "",
            f"[apps.{self.app}]",
        ]
        if self.has_fly_toml:
            lines.append('fly_toml = "fly.toml"')
        if self.command is not None:
            lines.append(f"command = {_toml(self.command)}")
            lines.append(
                "# The app must listen on $PORT, which is different for each machine. If the command contains"
            )
            lines.append("# {host}, each machine gets its own address, and all use the same port, as on Fly.")
        if self.has_dockerfile:
            lines.append(f'image = "{self.app}:latest"     # for flysim up --backend docker')
            lines.append('build = "."                # the folder of the Dockerfile')
        for region in (self.region, self.other_region):
            lines += ["", f"[[apps.{self.app}.machines]]", f'region = "{region}"']
        return "\n".join(lines) + "\n"

    def scenario_text(self, config: str) -> str:
        # With force_https, a request over http would only get a redirect.
        origin = f"https://{self.app}.fly.dev" if self.is_https_only else ""
        return (
            "version: 1\n"
            "name: A visitor lands on the nearest machine\n"
            f"config: {config}\n"
            "steps:\n"
            f"  - request: GET {origin}{self.path}\n"
            f"    edge: {self.region}\n"
            "    expect:\n"
            f"      served_by: {self.region}-1\n"
            f"  - request: GET {origin}{self.path}\n"
            f"    edge: {self.other_region}\n"
            "    expect:\n"
            f"      served_by: {self.other_region}-1\n"
        )


def find_app(folder: Path, command: str | None) -> InitTemplate:
    """Read the app's settings from the files in its folder. Unreadable files count as absent."""
    fly_path = folder / "fly.toml"
    fly = _read_toml(fly_path)
    section = fly.get("http_service")
    service: dict[str, Any] = section if isinstance(section, dict) else {}
    start_command = command or (None if fly.get("processes") else _guess_command(folder))
    return InitTemplate(
        app=_app_name(fly.get("app") or folder.resolve().name),
        region=str(fly.get("primary_region") or DEFAULT_REGION),
        has_fly_toml=fly_path.is_file(),
        command=start_command,
        has_dockerfile=(folder / "Dockerfile").is_file() and "image" not in (fly.get("build") or {}),
        path=_check_path(service),
        is_https_only=service.get("force_https") is True,
    )


def needs_command(template: InitTemplate, folder: Path) -> bool:
    return template.command is None and not _read_toml(folder / "fly.toml").get("processes")


def _guess_command(folder: Path) -> str | None:
    """The start command of a Procfile, package.json or Dockerfile, in this order."""
    procfile = _read(folder / "Procfile")
    if match := _PROCFILE_WEB.search(procfile):
        return match[1]
    try:
        package = json.loads(_read(folder / "package.json") or "{}")
    except ValueError:
        package = {}
    scripts = package.get("scripts") if isinstance(package, dict) else None
    if isinstance(scripts, dict) and "start" in scripts:
        return "npm start"
    return _command_of_image(_read(folder / "Dockerfile"))


def _command_of_image(dockerfile: str) -> str | None:
    """The last CMD. None with an ENTRYPOINT, which takes CMD as its arguments and exists only in the image."""
    text = _HERE_DOCUMENT.sub("", _COMMENT.sub("", dockerfile)).replace("\\\n", " ")
    instructions = _INSTRUCTION.findall(text)
    if not instructions or any(name.upper() == "ENTRYPOINT" for name, _ in instructions):
        return None
    command: str = instructions[-1][1]
    try:
        words = json.loads(command)
    except ValueError:
        return command  # The shell form of CMD.
    return shlex.join(map(str, words)) if isinstance(words, list) and words else None


def _check_path(service: Any) -> str:
    checks = service.get("checks") if isinstance(service, dict) else None
    paths = (
        [check.get("path") for check in checks if isinstance(check, dict)] if isinstance(checks, list) else []
    )
    return next((path for path in paths if isinstance(path, str) and path.startswith("/")), "/")


def _app_name(text: object) -> str:
    name = re.sub("[^a-z0-9]+", "-", f"{text}".lower()).strip("-")[:63].strip("-")
    return name or "app"


def _toml(command: str) -> str:
    """The command as a TOML list: its words, or `sh -c` and the command if it needs a shell."""
    words = ["sh", "-c", command if re.search("[&|;]", command) else f"exec {command}"]
    if not _SHELL_CHARACTERS.search(command):
        with suppress(ValueError):  # Unbalanced quotes: the shell reports them.
            words = shlex.split(command)
    return "[" + ", ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError:
        return {}
