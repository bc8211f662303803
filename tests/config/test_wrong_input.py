"""Invalid flysim.toml files: all errors together, each with file, line, column, value and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import load_config, parse_config
from simulator.config.source import MAX_KEY_PARTS
from simulator.errors import InputError
from tests.config.writing import APP, HEAD, load, problem_of, write

REGIONS = (
    "a Fly region code: "
    "ams, arn, bom, cdg, dfw, ewr, fra, gru, iad, jnb, lax, lhr, nrt, ord, sin, sjc, syd, yyz"
)
A_PORT = "a port from 1 to 65535, or 0 for any free port"
A_COMMAND = 'a command, such as ["python", "-m", "app"] or "python -m app"'
APP_KEYS = (
    "one of fly_toml, command, image, build, start_timeout, org, network, replay_sources, "
    "hostnames, env, machines"
)


def _app(*lines: str) -> str:
    """A file whose app has these lines, starting on line 5, and one machine."""
    return HEAD + "\n".join(("[apps.chat]", *lines, '[[apps.chat.machines]]\nregion = "ams"\n'))


def _machine(*lines: str) -> str:
    """A file whose machine has these lines, starting on line 7."""
    return HEAD + "\n".join(('[apps.chat]\ncommand = "serve"\n[[apps.chat.machines]]', *lines, ""))


def _proxy(line: str) -> str:
    """A file with this line under [proxy], on line 9."""
    return f"{HEAD}{APP}[proxy]\n{line}\n"


def _edge(written: str) -> str:
    """A file with this value for the edge in Amsterdam, on line 3."""
    return (HEAD + APP).replace("8080", written, 1)


@pytest.mark.parametrize(
    ("text", "problem", "expected"),
    [
        (APP + "[edges]\nams = 1\n", 'flysim.toml:1:1: missing key "version"', "version = 1"),
        (
            (HEAD + APP).replace("version = 1", "version = 2"),
            "flysim.toml:1:1: version is 2",
            "version = 1, the only supported version",
        ),
        (
            "version = 1\n" + APP,
            'flysim.toml:1:1: missing key "edges"',
            "[edges] with a region and a port: ams = 8080",
        ),
        (HEAD, 'flysim.toml:1:1: missing key "apps"', "[apps.NAME] with a command and machines"),
        (
            HEAD + APP + "[prox]\n",
            'flysim.toml:8:1: unknown key "prox"; did you mean "proxy"?',
            "one of version, edges, apps, proxy, control",
        ),
        (
            _app('comand = "serve"', "image = 'x'"),
            'apps.chat: unknown key "comand"; did you mean "command"?',
            APP_KEYS,
        ),
        (
            _app('qqq = "serve"', "image = 'x'"),
            'flysim.toml:5:1: apps.chat: unknown key "qqq"',
            APP_KEYS,
        ),
        (
            _app('command = "serve"', 'build = "."'),
            "flysim.toml:6:1: apps.chat has build but no image, so the built image has no name",
            'image = "chat" next to build',
        ),
        (_app("command = 3"), "flysim.toml:5:1: apps.chat.command is 3", A_COMMAND),
        (_app("command = []"), "flysim.toml:5:1: apps.chat.command is an empty list", A_COMMAND),
        (_app("command = [1, 2]"), "flysim.toml:5:1: apps.chat.command is a list of 2 items", A_COMMAND),
        (
            _app('command = "python \'x"'),
            'flysim.toml:5:1: apps.chat.command is "python \'x": no closing quotation',
            A_COMMAND,
        ),
        (_app("command = 'x'", "image = 3"), "flysim.toml:6:1: apps.chat.image is 3", "a string in quotes"),
        (
            _app("command = 'x'", "image = ''"),
            'flysim.toml:6:1: apps.chat.image is ""',
            "a non-empty string",
        ),
        (
            _app("command = 'x'", "hostnames = 'x'"),
            'flysim.toml:6:1: apps.chat.hostnames is "x"',
            "a list in brackets: [ ]",
        ),
        *(
            (
                _app("command = 'x'", f"hostnames = ['a.test', {name}]"),
                f"flysim.toml:6:24: apps.chat.hostnames[1] is {name}",
                'a hostname without a port, such as "www.example.com"; an international one in its xn-- form',
            )
            for name in ('"a.test:80"', '"münchen.test"', '"a b"', '"*.test"', '"http://a.test"', '"-a.test"')
        ),
        *(
            (
                _app("command = 'x'", f'{key} = "a\\u0000b"'),
                f'flysim.toml:6:1: apps.chat.{key} is "a\\u0000b", and contains the control character U+0000',
                "text without control characters",
            )
            for key in ("org", "network", "image")
        ),
        (
            _machine("region = 'ams'", 'group = "a\\u0085"'),
            'flysim.toml:8:1: apps.chat.machines[0].group is "a\\u0085", and contains the control character U+0085',
            "text without control characters",
        ),
        (
            _machine("region = 'ams'", 'url = "http://127.0.0.1:4000\\n"'),
            'flysim.toml:8:1: apps.chat.machines[0].url is "http://127.0.0.1:4000\\n"',
            'the http URL of a running server, without a path, such as "http://127.0.0.1:4000"',
        ),
        (_app("command = 'x'", "env = 'x'"), 'flysim.toml:6:1: apps.chat.env is "x"', "a table"),
        (
            _app("command = 'x'", "env = { A = [1], B = 'b' }"),
            "flysim.toml:6:9: apps.chat.env.A is a list of 1 item",
            "a string in quotes",
        ),
        (
            # F-7.14
            _app("command = 'x'", "[apps.chat.env]", "FLY_REGION = 'ams'"),
            "flysim.toml:7:1: apps.chat.env.FLY_REGION is a name that Fly reserves",
            "a variable name that does not start with FLY_",
        ),
        (
            HEAD + "[apps.chat]\ncommand = 'x'\n",
            'flysim.toml:4:1: apps.chat: missing key "machines"',
            "[[apps.NAME.machines]] with a region",
        ),
        (
            HEAD + "[apps.Chat]\ncommand = 'x'\nmachines = []\n",
            "flysim.toml:4:1: apps.Chat is not a valid app name",
            "lower-case letters, digits and hyphens, as in <app>.fly.dev",
        ),
        (
            HEAD + "[apps.chat]\n[[apps.chat.machines]]\nregion = 'ams'\n",
            "flysim.toml:4:1: apps.chat has no command to start its machines",
            'command = ["python", "-m", "app"], or a url for each machine',
        ),
        (
            _machine("id = 'd8dd626f379508'"),
            'flysim.toml:6:1: apps.chat.machines[0]: missing key "region"',
            'region = "ams"',
        ),
        (
            _machine("region = 'AMS'"),
            'flysim.toml:7:1: apps.chat.machines[0].region is "AMS"; did you mean "ams"?',
            REGIONS,
        ),
        (
            _machine("region = 'dalls'"),
            'apps.chat.machines[0].region is "dalls"; did you mean "dfw"?',
            REGIONS,
        ),
        (
            _machine("region = 'dallas'"),
            'apps.chat.machines[0].region is "dallas"; did you mean "dfw"?',
            REGIONS,
        ),
        (_machine("region = 'q'"), 'apps.chat.machines[0].region is "q", which is not a Fly region', REGIONS),
        (
            # F-1.18, F-7.24: aliases are not regions.
            _machine("region = 'eu'"),
            'apps.chat.machines[0].region is "eu", an alias for several regions that only fly-replay accepts',
            REGIONS,
        ),
        (_machine("region = ['ams']"), "apps.chat.machines[0].region is a list of 1 item", REGIONS),
        (
            _machine("region = 'ams'", "id = 'D8DD626F379508'"),
            'flysim.toml:8:1: apps.chat.machines[0].id is "D8DD626F379508"',
            "a machine id: 14 lower-case hex digits",
        ),
        (
            _machine("region = 'ams'", "id = 28653304064058"),
            "flysim.toml:8:1: apps.chat.machines[0].id is 28653304064058",
            'a machine id: 14 lower-case hex digits, in quotes: "…"',
        ),
        (
            _machine("region = 'ams'", "count = 0"),
            "flysim.toml:8:1: apps.chat.machines[0].count is 0",
            "1 or more",
        ),
        (_machine("region = 'ams'", "count = 1e3"), "machines[0].count is 1000.0", "an integer"),
        (_machine("region = 'ams'", "count = 101"), "machines[0].count is 101", "100 or less"),
        (
            _machine("region = 'ams'", "count = 2", "id = 'd8dd626f379508'"),
            "flysim.toml:9:1: apps.chat.machines[0] has count = 2 and id, which applies to one machine only",
            "no id, or one [[…machines]] table per machine",
        ),
        (
            _machine("region = 'ams'", "url = 'https://127.0.0.1:4000'"),
            'flysim.toml:8:1: apps.chat.machines[0].url is "https://127.0.0.1:4000"',
            'the http URL of a running server, without a path, such as "http://127.0.0.1:4000"',
        ),
        (
            HEAD
            + APP
            + "id = 'd8dd626f379508'\n[[apps.chat.machines]]\nregion = 'dfw'\nid = 'd8dd626f379508'\n",
            "apps.chat.machines[1].id: id d8dd626f379508 is already used by apps.chat.machines[0].id (line 8)",
            "a unique id for each machine",
        ),
        ((HEAD + APP).replace("8080", "65536"), "flysim.toml:3:1: edges.ams is 65536", A_PORT),
        ((HEAD + APP).replace("8080", "-1"), "flysim.toml:3:1: edges.ams is -1", A_PORT),
        ((HEAD + APP).replace("8080", '"8080"'), 'flysim.toml:3:1: edges.ams is "8080"', A_PORT),
        ((HEAD + APP).replace("8080", "true"), "flysim.toml:3:1: edges.ams is true", A_PORT),
        (
            HEAD + "dfw = 8080\n" + APP,
            "flysim.toml:4:1: edges.dfw: port 8080 is already used by edges.ams (line 3)",
            "another port, or 0 for any free port",
        ),
        (
            HEAD + APP + "[control]\nport = 8080\n",
            "flysim.toml:9:1: control.port: port 8080 is already used by edges.ams (line 3)",
            "another port, or 0 for any free port",
        ),
        (
            HEAD + APP + "[proxy]\nattempts = '4'\n",
            'flysim.toml:9:1: proxy.attempts is "4"',
            "an integer",
        ),
        (HEAD + APP + "[proxy]\nattempts = -4\n", "flysim.toml:9:1: proxy.attempts is -4", "1 or more"),
        (
            HEAD + APP.replace("command", "start_timeout = '30'\ncommand", 1),
            'start_timeout is "30", a duration without a unit',
            "a duration, such as 500ms, 10s or 2m",
        ),
        # [proxy]: K-2, K-13, K-27, K-29
        (_proxy("cache_refusal = 1.5"), "flysim.toml:9:1: proxy.cache_refusal is 1.5", "1 or less"),
        (_proxy("cache_refusal = -0.5"), "proxy.cache_refusal is -0.5", "0 or more"),
        (_proxy("replay_error_status = 600"), "proxy.replay_error_status is 600", "599 or less"),
        (_proxy("replay_body_limit_bytes = 1.5"), "proxy.replay_body_limit_bytes is 1.5", "an integer"),
        (
            _proxy('websocket_replay = "101"'),
            'flysim.toml:9:1: proxy.websocket_replay is "101"',
            '"any", "only_101" or "only_non_101"',
        ),
        (_proxy("aliases = 3"), "flysim.toml:9:1: proxy.aliases is 3", "a table"),
        (
            _proxy('aliases = { africa = ["jnb", "nbo"] }'),
            'flysim.toml:9:30: proxy.aliases.africa[1] is "nbo"; did you mean "jnb"?',
            REGIONS,
        ),
        (_proxy('aliases = { africa = "jnb" }'), 'proxy.aliases.africa is "jnb"', "a list in brackets: [ ]"),
        (
            _proxy('aliases = { ams = ["fra"] }'),
            "flysim.toml:9:13: proxy.aliases.ams is not a valid alias name",
            'a lower-case name of letters, digits, "_" and "-", not a region code and not "any"',
        ),
        (
            _proxy('aliases = { any = ["fra"] }'),
            "proxy.aliases.any is not a valid alias name",
            "a lower-case name",
        ),
        (
            _proxy("cross_network_replays = true"),
            "proxy.cross_network_replays is true",
            "a list in brackets: [ ]",
        ),
        (_proxy("cross_network_replays = [1]"), "proxy.cross_network_replays[0] is 1", "a string in quotes"),
        (
            _app("command = 'x'", "replay_sources = ['']"),
            'replay_sources[0] is ""',
            "a non-empty string",
        ),
        (
            _app("command = 'x'", "replay_sources = 'a'"),
            'apps.chat.replay_sources is "a"',
            "a list in brackets: [ ]",
        ),
        # [edges] with additional public ports
        (
            _edge("{}"),
            "flysim.toml:3:1: edges.ams is an empty table",
            "public ports with their local ports:",
        ),
        (_edge("{ 80 = 65536 }"), "flysim.toml:3:9: edges.ams.80 is 65536", A_PORT),
        (
            _edge("{ http = 8080 }"),
            "flysim.toml:3:9: edges.ams.http is not a valid public port",
            "a port of a service in fly.toml, from 1 to 65535",
        ),
        (
            _edge("{ 0 = 8080 }"),
            "flysim.toml:3:9: edges.ams.0 is not a valid public port",
            "a port of a service in fly.toml",
        ),
        (
            _edge("{ 80 = 8080, 9090 = 8080 }"),
            "flysim.toml:3:20: edges.ams.9090: port 8080 is already used by edges.ams.80 (line 3)",
            "another port, or 0 for any free port",
        ),
        (
            _edge("{ 443 = 8443, 9090 = 8443 }"),
            "flysim.toml:3:21: edges.ams.9090: port 8443 is already used by edges.ams.443 (line 3)",
            "another port, or 0 for any free port",
        ),
        (_machine("region = 'ams'", "group = ''"), 'machines[0].group is ""', "a non-empty string"),
        (
            HEAD + APP + "[proxy]\nno_candidate_status = 200\n",
            "proxy.no_candidate_status is 200",
            "400 or more",
        ),
        (
            HEAD + APP + "[proxy]\nreplay_error_seconds = inf\n",
            "proxy.replay_error_seconds is inf",
            "a finite number",
        ),
        (
            HEAD + APP + "[proxy]\nlenient_region_list = 1\n",
            "proxy.lenient_region_list is 1",
            "true or false",
        ),
    ],
)
def test_an_error_names_the_position_the_value_and_what_was_expected(
    tmp_path: Path, text: str, problem: str, expected: str
) -> None:
    message = problem_of(tmp_path, text)

    assert f"{problem}\n  expected: {expected}" in message
    assert message.count("expected:") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 1\nedges = {\n", "flysim.toml:2:10: invalid TOML: "),
        ("version = \n", "flysim.toml:1:11: invalid TOML: invalid value, in `version =`"),
        (
            "version = 1\nversion = 1\n",
            "flysim.toml:2:12: invalid TOML: cannot overwrite a value, in `version = 1`",
        ),
        ("version = 1\n[edges", "flysim.toml:2"),
        ("x = " + "[" * 5_000 + "]" * 5_000, "flysim.toml"),
    ],
)
def test_invalid_toml_is_an_error_with_its_position(tmp_path: Path, text: str, problem: str) -> None:
    assert problem_of(tmp_path, text).startswith(problem)


def test_invalid_utf8_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "flysim.toml"
    path.write_bytes(b"version = 1\n# caf\xe9\n")

    with pytest.raises(InputError) as caught:
        load_config(path)

    assert (caught.value.line, caught.value.problem) == (2, "byte 0xe9 is not UTF-8")


def test_windows_line_endings_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "flysim.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + APP).replace("\n", "\r\n").encode())

    assert load_config(path).machines[0].region == "ams"


def test_a_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: file not found in "):
        load_config(tmp_path / "nowhere.toml")


def test_a_missing_fly_toml_is_an_error_at_the_key_that_names_it(tmp_path: Path) -> None:
    message = problem_of(tmp_path, _app('fly_toml = "app/fly.toml"'))

    assert message == (
        'flysim.toml:5:1: apps.chat.fly_toml is "app/fly.toml", but the file app/fly.toml does not exist\n'
        f"  expected: the path of the app's fly.toml, relative to {tmp_path}"
    )


def test_all_errors_are_reported_together_sorted_by_line(tmp_path: Path) -> None:
    text = """\
        version = 1
        [edges]
        eu = 8080
        ams = 8080
        [apps.chat]
        comand = "x"
        fly_toml = "fly.toml"
        [[apps.chat.machines]]
        region = "ams"
        id = "d8dd626f379508"
        [[apps.chat.machines]]
        region = "xxx"
        id = "d8dd626f379508"
        """

    message = problem_of(tmp_path, text, 'kill_signal = "INT"\n')

    assert [line.split(": ")[0] for line in message.splitlines() if not line.startswith(" ")] == [
        "fly.toml:1:1",
        "flysim.toml:3:1",
        "flysim.toml:4:1",
        "flysim.toml:6:1",
        "flysim.toml:12:1",
        "flysim.toml:13:1",
    ]


def test_an_invalid_fly_toml_causes_no_further_errors_for_its_app(tmp_path: Path) -> None:
    message = problem_of(tmp_path, _app('fly_toml = "fly.toml"'), "app = 3\n")

    assert message == "fly.toml:1:1: app is 3\n  expected: a string in quotes"


class Lines:
    """A `Source`, as a scenario has one, with the position of one key."""

    path = Path("scenario.yaml")

    def line(self, key_path: tuple[str | int, ...]) -> int | None:
        return 12 if key_path == ("edges", "ams") else None

    def column(self, key_path: tuple[str | int, ...]) -> int | None:
        return None


def test_errors_of_an_inline_configuration_name_the_lines_of_its_file(tmp_path: Path) -> None:
    machines = [{"region": "ams"}]
    data = {"edges": {"ams": "x"}, "apps": {"chat": {"command": "serve", "machines": machines}}}

    with pytest.raises(InputError, match=r'^scenario\.yaml:12: edges\.ams is "x"'):
        parse_config(data, tmp_path, Lines())


def test_the_base_files_of_the_tables_are_valid(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + APP).machines
    assert load(tmp_path, _app("command = 'x'")).machines
    assert load(tmp_path, _machine("region = 'ams'")).machines
    assert write(tmp_path, "x").read_text() == "x"


def test_an_unknown_process_group_is_an_error_that_lists_the_groups(tmp_path: Path) -> None:
    """F-9.15."""
    fly_toml = '[http_service]\nprocesses = ["web"]\n[processes]\nweb = "serve"\nworker = "work"\n'
    text = _app('fly_toml = "fly.toml"') + 'group = "wep"\n'

    assert problem_of(tmp_path, text, fly_toml) == (
        'flysim.toml:8:1: apps.chat.machines[0].group is "wep"; did you mean "web"?\n'
        "  expected: a process group of fly.toml: web, worker"
    )


def test_a_process_group_without_a_command_is_an_error(tmp_path: Path) -> None:
    """F-9.15: a service may name a group that is not in [processes]."""
    fly_toml = '[http_service]\nprocesses = ["web"]\n[processes]\nworker = "work"\n'
    text = _app('fly_toml = "fly.toml"') + 'group = "web"\n'

    assert "apps.chat has no command to start its machines" in problem_of(tmp_path, text, fly_toml)


@pytest.mark.parametrize(
    ("before", "after"),
    [("", " = 1\n"), ("[", "]\n"), ("x = {", " = 1}\n"), ("x = [{a = 1},\n{", " = 1}]\n")],
)
@pytest.mark.parametrize("part", ["a", '"a"', "'a'", "a "])
def test_a_key_with_too_many_parts_is_an_error_before_it_is_parsed(
    tmp_path: Path, before: str, after: str, part: str
) -> None:
    """tomllib takes 2 GB for a key of 40 kB."""
    most = ".".join([part] * MAX_KEY_PARTS)
    assert "more than" not in problem_of(tmp_path, before + most + after)
    message = problem_of(tmp_path, before + most + f".{part}" * 20_000 + after)
    line = before.count("\n") + 1
    assert message.startswith(f"flysim.toml:{line}:")
    assert message.endswith(
        f": a key with more than {MAX_KEY_PARTS} parts\n  expected: at most {MAX_KEY_PARTS} names, joined by dots"
    )


def test_an_error_quotes_at_most_the_start_of_a_line(tmp_path: Path) -> None:
    message = problem_of(tmp_path, f"{'x' * 1000}\n")
    assert message.endswith(f", in `{'x' * 60}…`")


def test_an_error_quotes_nothing_of_a_file_that_is_not_toml(tmp_path: Path) -> None:
    """A config may name any file as `fly_toml`."""
    write(tmp_path, "root:x:0:0\n", "passwd")
    (tmp_path / "link.toml").symlink_to(tmp_path / "passwd")
    for name in ("passwd", "link.toml"):
        message = problem_of(tmp_path, _app("command = 'x'", f"fly_toml = '{name}'"))
        assert message == f"{name}:1:5: invalid TOML: expected '=' after a key in a key/value pair"
