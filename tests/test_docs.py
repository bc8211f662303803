"""What the documents name exists: commands and their options, files, links, and examples that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.config import load_config
from simulator.scenario.file.loader import load_scenario

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
COMMANDS = typer.main.get_command(app)


def command_lines() -> list[tuple[str, str]]:
    """Every `flysim …` in a code span or console block, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text()
        spans = re.findall(r"`(flysim [^`\n]+)`", text)
        blocks = re.findall(r"^\$ (?:\S*/)?(flysim [^#|\n]+)", text, re.MULTILINE)
        found += [(page.name, line.strip()) for line in spans + blocks]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_every_documented_command_and_option_exists(page: str, line: str) -> None:
    words = line.split()[1:]
    command = COMMANDS
    while words and hasattr(command, "commands") and re.fullmatch(r"[a-z]+", words[0]):
        assert words[0] in command.commands, f"{page}: {line}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    own_words = words[: words.index("--")] if "--" in words else words
    for word in own_words:
        if word.startswith("-"):
            assert word.strip("[]").split("=")[0] in known, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_part_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`((?:simulator|sample_app|scenarios|tests|docs)/[\w/.-]*)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_make_has_every_target_that_is_documented() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text()):
            assert target in targets, f"{page.name}: make {target}"


def test_the_readme_is_short_and_its_examples_load(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    toml = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    scenario = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert toml
    assert scenario
    (tmp_path / "fly.toml").write_text(
        'app = "chat"\nprimary_region = "ams"\n[http_service]\ninternal_port = 8080\n'
    )
    (tmp_path / "flysim.toml").write_text(toml[1])
    (tmp_path / "first.yaml").write_text(scenario[1])
    assert [machine.name for machine in load_config(tmp_path / "flysim.toml").machines] == [
        "ams-1",
        "dfw-1",
        "dfw-2",
    ]
    assert load_scenario(tmp_path / "first.yaml").name == yaml.safe_load(scenario[1])["name"]


def commands() -> list[tuple[str, ...]]:
    """Every command by its words, those of `flysim machine` too."""
    found: list[tuple[str, ...]] = []
    for name, command in COMMANDS.commands.items():  # type: ignore[attr-defined]
        found += [(name, below) for below in getattr(command, "commands", ())] or [(name,)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_of_every_command_has_an_example_of_it(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"Example: flysim {' '.join(words)}" in " ".join(result.stdout.split())


def test_the_readme_counts_the_scenarios_right() -> None:
    count = len(list((ROOT / "scenarios").rglob("*.yaml")))
    assert f"\n{count} passed, 0 failed\n" in (ROOT / "README.md").read_text()
