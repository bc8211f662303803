"""YAML reader: plain values, with the line and column of every value and key.

Scalars are resolved close to JSON instead of YAML 1.1: `no` and `on` are strings, `12:30` is not a number, and a
number keeps its source text where a string is expected. A machine id of fourteen digits stays unchanged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from simulator.config.base_model import WrittenFloat
from simulator.config.problems import Problems
from simulator.errors import InputError

KeyPath = tuple[str | int, ...]

MAX_VALUES = 100_000
"""Limit against alias expansion: a small file can expand to more values than fit into memory."""

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None, "": None}
_YAML_TAG = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_YAML_TAG}merge"
_PLAIN_TAGS = frozenset(
    f"{_YAML_TAG}{kind}" for kind in ("int", "float", "bool", "null", "timestamp", "value")
)
"""Tags that YAML 1.1 resolves plain scalars to. `read_scalar` decides their value instead."""


class Mark(NamedTuple):
    line: int
    column: int

    @classmethod
    def of(cls, node: yaml.Node) -> Mark:
        return cls(node.start_mark.line + 1, node.start_mark.column + 1)


class Document:
    """The data of a YAML file and its positions. Implements `simulator.config.source.Source`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: Any = None
        self.values: dict[KeyPath, Mark] = {}
        self.keys: dict[KeyPath, Mark] = {}

    def find_value(self, path: KeyPath) -> Mark:
        """Start of the value at `path`, or of the closest enclosing value."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Mark(1, 1)

    def find_key(self, path: KeyPath) -> Mark:
        return self.keys.get(path) or self.find_value(path)

    def line(self, key_path: KeyPath) -> int | None:
        return self.find_key(key_path).line

    def column(self, key_path: KeyPath) -> int | None:
        return self.find_key(key_path).column


def read_document(path: Path) -> Document:
    """Reads a YAML file. Raises InputError; all duplicate keys and unsupported tags are reported together."""
    text = _read_text(path)
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, error) from None
    except yaml.reader.ReaderError as error:
        raise _character_error(path, text, error) from None
    except yaml.YAMLError as error:
        raise InputError(f"invalid YAML: {error}", path=path) from None
    except RecursionError:
        raise InputError("too many nested brackets", path=path) from None
    if len(nodes) > 1:
        mark = Mark.of(nodes[1])
        raise InputError(
            "the file contains a second YAML document",
            path=path,
            line=mark.line,
            column=mark.column,
            expected="one document per file",
        )
    return _Builder(Document(path)).build(nodes[0] if nodes else None)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise InputError(problem, path=path, line=line, expected="a YAML file encoded in UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read the file: {error.strerror or error}", path=path) from None


def _character_error(path: Path, text: str, error: yaml.reader.ReaderError) -> InputError:
    before = text[: error.position]
    code = ord(text[error.position])
    return InputError(
        f"invalid YAML: character U+{code:04X} is not allowed",
        path=path,
        line=before.count("\n") + 1,
        column=len(before) - before.rfind("\n"),
        expected=f'printable characters; in double quotes, write it as "\\x{code:02x}"'
        if code < 0x100
        else "printable characters",
    )


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> InputError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "syntax error"
    if error.problem and error.context:
        problem = f"{error.problem}, {error.context}"
    expected = None
    if "found character '\\t'" in problem:
        expected = "spaces for indentation, because YAML does not allow tabs"
    elif "mapping values are not allowed" in problem:
        expected = 'quotes around a string that contains ": "'
    if mark is None:
        return InputError(f"invalid YAML: {problem}", path=path)
    return InputError(
        f"invalid YAML: {problem}", path=path, line=mark.line + 1, column=mark.column + 1, expected=expected
    )


class _Builder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems = Problems()
        self._count = 0
        self._open: set[int] = set()

    def build(self, root: yaml.Node | None) -> Document:
        self._document.values[()] = Mark.of(root) if root else Mark(1, 1)
        self._document.data = self._value(root, ()) if root else None
        self._problems.raise_if_any()
        return self._document

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise InputError(
                f"more than {MAX_VALUES} values after aliases are expanded", path=self._document.path
            )
        self._document.values[path] = Mark.of(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._report(
                "the alias refers to itself", node, expected="an alias of a value outside its anchor"
            )
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            assert isinstance(node, yaml.SequenceNode)
            return self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.style is not None or node.tag == "!":  # Quoted, a block scalar, or tagged as a string.
            return node.value
        if node.tag == f"{_YAML_TAG}str":
            return node.value
        if node.tag not in _PLAIN_TAGS:
            self._report(f"unsupported tag {node.tag}", node, expected="a value without a tag")
            return node.value
        return read_scalar(node.value)

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                merged |= self._merged(value_node, path)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._report("the key is not a string", key_node, expected="a string before the colon")
                continue
            key = key_node.value
            if key in own:
                first = self._document.keys[(*path, key)].line
                self._report(
                    f'duplicate key "{key}"',
                    key_node,
                    expected=f"each key once; the first is on line {first}",
                )
                continue
            own[key] = self._value(value_node, (*path, key))
            self._document.keys[(*path, key)] = Mark.of(key_node)
        return merged | own

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        """The values of a merge key `<<:`: one mapping, or a list of mappings, where the first one wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in reversed(sources):
            if isinstance(source, yaml.MappingNode):
                # None: the alias refers to itself.
                merged |= self._value(source, path) or {}
            else:
                self._report("the value of << is not a mapping", source, expected="<<: *ANCHOR of a mapping")
        return merged

    def _report(self, problem: str, node: yaml.Node, *, expected: str | None = None) -> None:
        mark = Mark.of(node)
        self._problems.take(
            InputError(
                problem, path=self._document.path, line=mark.line, column=mark.column, expected=expected
            )
        )


def read_scalar(text: str) -> Any:
    """Value of a plain scalar: resolved as in JSON, and otherwise a string."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 4_000 else text
    if _FLOAT.fullmatch(text):
        return WrittenFloat.of(text)
    return text
