"""Checks of the documentation: commands, options, files, links and code names exist, and examples load."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.config import load_config
from simulator.scenario.loader import load_scenario

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
COMMANDS = typer.main.get_command(app)


def command_lines() -> list[tuple[str, str]]:
    """Each `flysim …` in a code span or console block, with its page."""
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
def test_every_linked_file_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_path_exists(page: Path) -> None:
    for name in re.findall(r"`((?:simulator|sample_app|scenarios|tests|docs)/[\w/.-]*)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_documented_make_target_exists() -> None:
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
    """Each command as a tuple of words, including the subcommands of `flysim machine`."""
    found: list[tuple[str, ...]] = []
    for name, command in COMMANDS.commands.items():  # type: ignore[attr-defined]
        found += [(name, subcommand) for subcommand in getattr(command, "commands", ())] or [(name,)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_every_command_has_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"Example: flysim {' '.join(words)}" in " ".join(result.stdout.split())


def test_the_readme_has_the_right_number_of_scenarios() -> None:
    count = len(list((ROOT / "scenarios").rglob("*.yaml")))
    assert f"\n{count} passed, 0 failed\n" in (ROOT / "README.md").read_text()


def glossary_code_names() -> list[tuple[str, str]]:
    """The term and the code name of each row in the glossary that has one."""
    text = (ROOT / "docs" / "glossary.md").read_text()
    return re.findall(r"^\| ([^|]+) \| [^|]+ \| `(\w+)` \|$", text, re.MULTILINE)


def definitions() -> set[str]:
    """The names of all module-level classes, functions and variables in the simulator."""
    found: set[str] = set()
    for path in (ROOT / "simulator").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_every_code_name_in_the_glossary_exists() -> None:
    names = glossary_code_names()
    known = definitions()
    assert len(names) > 20
    assert not [f"{term}: {name}" for term, name in names if name not in known]


def test_the_terms_in_the_glossary_are_unique() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = [
        term
        for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
        for term in row.split(", ")
        if row not in ("term", "---")
    ]
    assert len(terms) == len(set(terms))


def test_the_modules_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.as_posix() for path in (ROOT / "simulator").rglob("*.py")}
    missing = [
        name
        for name in re.findall(r"`([\w/]+\.py)`", page)
        if not any(module.endswith(f"/{name}") for module in modules)
    ]
    assert not missing
