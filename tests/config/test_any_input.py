"""Fuzzing of the config parsers: any input is parsed or raises InputError."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.config import PathSource, TomlSource, load_config, parse_config
from simulator.config.fly.reader import parse_fly_toml
from simulator.config.problems import Problems
from simulator.errors import InputError

_PIECES = st.sampled_from([
    "version = 1\n", "[edges]\n", "ams = 8080\n", "[apps.chat]\n", "[[apps.chat.machines]]\n", 'region = "ams"\n',
    "count = 2\n", "x.y.z = 1\n", 'command = "', "'''", '"""', "[", "]", "{", "}", "=", ",", "\n", "# x\n", "inf",
    "1979-05-27", "[proxy]\n", "attempts = ", "env = {A = 1}\n", "\\u0000", "\0", "\r", "é",
    "fly_toml = '\t'\n", 'fly_toml = "\\u0000"\n', "9" * 5000,
])  # fmt: skip
_TEXTS = st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=25).map("".join))
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["apps", "edges", "machines", "region", "id", "count", "ams", "chat", "fly_toml"]
                ),
                st.text(max_size=4),
                st.integers(),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)

_any_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)


@_any_folder
@given(text=_TEXTS, name=st.sampled_from(["flysim.toml", "fly.toml"]))
def test_any_text_is_parsed_or_raises_an_input_error(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    with suppress(InputError):
        assert load_config(path).apps


@_any_folder
@given(data=_VALUES)
def test_any_data_is_parsed_or_raises_an_input_error(tmp_path: Path, data: Any) -> None:
    with suppress(InputError):
        assert parse_config(data, tmp_path, PathSource(Path("x.yaml"))).apps


@_any_folder
@given(
    value=_VALUES,
    key=st.sampled_from(
        [
            "edges",
            "edge",
            "apps",
            "chat",
            "machines",
            "machine",
            "group",
            "env",
            "command",
            "proxy",
            "replay_sources",
        ]
    ),
)
def test_any_value_under_any_key_is_parsed_or_raises_an_input_error(
    tmp_path: Path, value: Any, key: str
) -> None:
    machine: Any = {"region": "ams"}
    if key == "group":
        machine["group"] = value
    app: Any = {"command": "serve", "env": {}, "machines": [value if key == "machine" else machine]}
    app["replay_sources"] = []
    app |= {key: value} if key in app else {}
    data: Any = {"edges": {"ams": 0}, "apps": {"chat": value if key == "chat" else app}, "proxy": {}}
    data |= {key: value} if key in data else {}
    if key == "edge":
        data["edges"] = {"ams": value}
    with suppress(InputError):
        assert parse_config(data, tmp_path, PathSource(Path("x.yaml"))).apps


_FLY_KEYS = st.sampled_from([
    "http_service", "services", "ports", "port", "start_port", "end_port", "handlers", "http_options", "response",
    "headers", "pristine", "replay_cache", "path_prefix", "ttl_seconds", "type", "name", "idle_timeout", "processes",
    "concurrency", "soft_limit", "force_https", "proxy_proto_options", "version", "tls_options", "statics",
    "url_prefix", "protocol", "vm", "env",
])  # fmt: skip
_FLY_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-1, 70_000),
        st.sampled_from(["http", "tcp", "udp", "cookie", "/", "v2", "web"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_FLY_KEYS, inner, max_size=4)),
    max_leaves=16,
)


@_any_folder
@given(
    data=st.dictionaries(_FLY_KEYS, _FLY_VALUES, max_size=3),
    port=st.dictionaries(_FLY_KEYS, _FLY_VALUES, max_size=4),
)
def test_any_fly_toml_is_parsed_or_raises_an_input_error(data: dict[str, Any], port: dict[str, Any]) -> None:
    data = {**data, "services": data.get("services", [{"ports": [{"port": 80, **port}]}])}
    problems = Problems()

    fly = parse_fly_toml(data, TomlSource(Path("fly.toml"), ""), problems)

    if fly is None:
        with pytest.raises(InputError):
            problems.raise_if_any()
    else:
        problems.raise_if_any()
