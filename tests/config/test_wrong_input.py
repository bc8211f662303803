"""flysim.toml that is wrong: file, line, column, what was read, what was expected, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import load_config, parse_config
from simulator.errors import InputError
from tests.config.writing import APP, HEAD, load, problem_of, write

REGIONS = (
    "the code of one region of Fly: "
    "ams, arn, bom, cdg, dfw, ewr, fra, gru, iad, jnb, lax, lhr, nrt, ord, sin, sjc, syd, yyz"
)
A_PORT = "a port: a whole number from 1 to 65535, or 0 for any free one"
A_COMMAND = 'a command, such as ["python", "-m", "app"] or "python -m app"'
APP_KEYS = (
    "one of fly_toml, command, image, build, start_timeout, org, network, replay_sources, "
    "hostnames, env, machines"
)


def _app(*lines: str) -> str:
    """A file whose app has these lines from line 5 on, and one machine."""
    return HEAD + "\n".join(("[apps.chat]", *lines, '[[apps.chat.machines]]\nregion = "ams"\n'))


def _machine(*lines: str) -> str:
    """A file whose machine has these lines from line 7 on."""
    return HEAD + "\n".join(('[apps.chat]\ncommand = "serve"\n[[apps.chat.machines]]', *lines, ""))


def _proxy(line: str) -> str:
    """A file with this line, the ninth, under [proxy]."""
    return f"{HEAD}{APP}[proxy]\n{line}\n"


def _edge(written: str) -> str:
    """A file with this, on line 3, as the edge in Amsterdam."""
    return (HEAD + APP).replace("8080", written, 1)


@pytest.mark.parametrize(
    ("text", "problem", "expected"),
    [
        (APP + "[edges]\nams = 1\n", 'flysim.toml: there is no "version"', "version = 1"),
        (
            (HEAD + APP).replace("version = 1", "version = 2"),
            "flysim.toml:1:1: version is 2",
            "version = 1, the only one that this flysim reads",
        ),
        (
            "version = 1\n" + APP,
            'flysim.toml: there is no "edges"',
            "[edges] with a region and a port: ams = 8080",
        ),
        (HEAD, 'flysim.toml: there is no "apps"', "[apps.NAME] with a command and machines"),
        (
            HEAD + APP + "[prox]\n",
            'flysim.toml:8:1: there is an unknown key "prox"; did you mean "proxy"?',
            "one of version, edges, apps, proxy, control",
        ),
        (
            _app('comand = "serve"', "image = 'x'"),
            'apps.chat has an unknown key "comand"; did you mean "command"?',
            APP_KEYS,
        ),
        (
            _app('qqq = "serve"', "image = 'x'"),
            'flysim.toml:5:1: apps.chat has an unknown key "qqq"',
            APP_KEYS,
        ),
        (
            _app('command = "serve"', 'build = "."'),
            "flysim.toml:6:1: apps.chat.build makes an image that has no name",
            'image = "chat" beside it',
        ),
        (_app("command = 3"), "flysim.toml:5:1: apps.chat.command is 3", A_COMMAND),
        (_app("command = []"), "flysim.toml:5:1: apps.chat.command is an empty list", A_COMMAND),
        (_app("command = [1, 2]"), "flysim.toml:5:1: apps.chat.command is a list of 2", A_COMMAND),
        (
            _app('command = "python \'x"'),
            'flysim.toml:5:1: apps.chat.command is "python \'x": no closing quotation',
            A_COMMAND,
        ),
        (_app("command = 'x'", "image = 3"), "flysim.toml:6:1: apps.chat.image is 3", "a text in quotes"),
        (
            _app("command = 'x'", "image = ''"),
            'flysim.toml:6:1: apps.chat.image is ""',
            "a text that is not empty",
        ),
        (
            _app("command = 'x'", "hostnames = 'x'"),
            'flysim.toml:6:1: apps.chat.hostnames is "x"',
            "a list: [ ]",
        ),
        (_app("command = 'x'", "env = 'x'"), 'flysim.toml:6:1: apps.chat.env is "x"', "a table"),
        (
            _app("command = 'x'", "env = { A = [1], B = 'b' }"),
            "flysim.toml:6:9: apps.chat.env.A is a list of 1",
            "a text in quotes",
        ),
        (
            # F-7.14
            _app("command = 'x'", "[apps.chat.env]", "FLY_REGION = 'ams'"),
            "flysim.toml:7:1: apps.chat.env.FLY_REGION is a name that Fly keeps for itself",
            "a variable whose name does not start with FLY_",
        ),
        (
            HEAD + "[apps.chat]\ncommand = 'x'\n",
            'flysim.toml:4:1: apps.chat has no "machines"',
            "[[apps.NAME.machines]] with a region",
        ),
        (
            HEAD + "[apps.Chat]\ncommand = 'x'\nmachines = []\n",
            "flysim.toml:4:1: apps.Chat is no name for an app",
            "lower-case letters, digits and dashes, as in <app>.fly.dev",
        ),
        (
            HEAD + "[apps.chat]\n[[apps.chat.machines]]\nregion = 'ams'\n",
            "flysim.toml:4:1: nothing says how to start a machine of apps.chat",
            'command = ["python", "-m", "app"], or a url for every machine',
        ),
        (
            _machine("id = 'd8dd626f379508'"),
            'flysim.toml:6:1: apps.chat.machines[0] has no "region"',
            'a region: region = "ams"',
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
        (_machine("region = 'q'"), 'apps.chat.machines[0].region is "q", which is no region', REGIONS),
        (
            # F-1.18, F-7.24: aliases are not regions.
            _machine("region = 'eu'"),
            'apps.chat.machines[0].region is "eu", which stands for several regions in fly-replay and is none itself',
            REGIONS,
        ),
        (_machine("region = ['ams']"), "apps.chat.machines[0].region is a list of 1", REGIONS),
        (
            _machine("region = 'ams'", "id = 'D8DD626F379508'"),
            'flysim.toml:8:1: apps.chat.machines[0].id is "D8DD626F379508"',
            "14 lower-case hex digits in a text",
        ),
        (
            _machine("region = 'ams'", "id = 28653304064058"),
            "flysim.toml:8:1: apps.chat.machines[0].id is 28653304064058",
            '14 lower-case hex digits in a text, so put it in quotes: "…"',
        ),
        (
            _machine("region = 'ams'", "count = 0"),
            "flysim.toml:8:1: apps.chat.machines[0].count is 0",
            "1 or more",
        ),
        (_machine("region = 'ams'", "count = 1e3"), "machines[0].count is 1000.0", "a whole number"),
        (_machine("region = 'ams'", "count = 101"), "machines[0].count is 101", "100 or less"),
        (
            _machine("region = 'ams'", "count = 2", "id = 'd8dd626f379508'"),
            "flysim.toml:9:1: apps.chat.machines[0] has both count = 2 and id, which can be of one machine only",
            "no id, or a [[…machines]] for each machine",
        ),
        (
            _machine("region = 'ams'", "url = 'https://127.0.0.1:4000'"),
            'flysim.toml:8:1: apps.chat.machines[0].url is "https://127.0.0.1:4000"',
            'where a program listens already, such as "http://127.0.0.1:4000"',
        ),
        (
            HEAD
            + APP
            + "id = 'd8dd626f379508'\n[[apps.chat.machines]]\nregion = 'dfw'\nid = 'd8dd626f379508'\n",
            "apps.chat.machines[1].id: id d8dd626f379508 is that of apps.chat.machines[0].id (line 8)",
            "an id of its own for every machine",
        ),
        ((HEAD + APP).replace("8080", "65536"), "flysim.toml:3:1: edges.ams is 65536", A_PORT),
        ((HEAD + APP).replace("8080", "-1"), "flysim.toml:3:1: edges.ams is -1", A_PORT),
        ((HEAD + APP).replace("8080", '"8080"'), 'flysim.toml:3:1: edges.ams is "8080"', A_PORT),
        ((HEAD + APP).replace("8080", "true"), "flysim.toml:3:1: edges.ams is true", A_PORT),
        (
            HEAD + "dfw = 8080\n" + APP,
            "flysim.toml:4:1: edges.dfw: port 8080 is that of edges.ams (line 3)",
            "another port, or 0 for any free one",
        ),
        (
            HEAD + APP + "[control]\nport = 8080\n",
            "flysim.toml:9:1: control.port: port 8080 is that of edges.ams (line 3)",
            "another port, or 0 for any free one",
        ),
        (
            HEAD + APP + "[proxy]\nattempts = '4'\n",
            'flysim.toml:9:1: proxy.attempts is "4"',
            "a whole number",
        ),
        (HEAD + APP + "[proxy]\nattempts = -4\n", "flysim.toml:9:1: proxy.attempts is -4", "1 or more"),
        # [proxy]: K-2, K-13, K-27, K-29
        (_proxy("cache_refusal = 1.5"), "flysim.toml:9:1: proxy.cache_refusal is 1.5", "1 or less"),
        (_proxy("cache_refusal = -0.5"), "proxy.cache_refusal is -0.5", "0 or more"),
        (_proxy("replay_error_status = 600"), "proxy.replay_error_status is 600", "599 or less"),
        (_proxy("replay_body_limit_bytes = 1.5"), "proxy.replay_body_limit_bytes is 1.5", "a whole number"),
        (
            _proxy('websocket_replay = "101"'),
            'flysim.toml:9:1: proxy.websocket_replay is "101"',
            "'any', 'only_101' or 'only_non_101'",
        ),
        (_proxy("aliases = 3"), "flysim.toml:9:1: proxy.aliases is 3", "a table"),
        (
            _proxy('aliases = { africa = ["jnb", "nbo"] }'),
            'flysim.toml:9:30: proxy.aliases.africa[1] is "nbo"; did you mean "jnb"?',
            REGIONS,
        ),
        (_proxy('aliases = { africa = "jnb" }'), 'proxy.aliases.africa is "jnb"', "a list: [ ]"),
        (
            _proxy('aliases = { ams = ["fra"] }'),
            "flysim.toml:9:13: proxy.aliases.ams is no name for an alias",
            "lower-case letters, not the code of a region and not any",
        ),
        (
            _proxy('aliases = { any = ["fra"] }'),
            "proxy.aliases.any is no name for an alias",
            "lower-case letters",
        ),
        (_proxy("cross_network_replays = true"), "proxy.cross_network_replays is true", "a list: [ ]"),
        (_proxy("cross_network_replays = [1]"), "proxy.cross_network_replays[0] is 1", "a text in quotes"),
        (
            _app("command = 'x'", "replay_sources = ['']"),
            'replay_sources[0] is ""',
            "a text that is not empty",
        ),
        (_app("command = 'x'", "replay_sources = 'a'"), 'apps.chat.replay_sources is "a"', "a list: [ ]"),
        # [edges] with further public ports
        (
            _edge("{}"),
            "flysim.toml:3:1: edges.ams is an empty table",
            "public ports and where they are here:",
        ),
        (_edge("{ 80 = 65536 }"), "flysim.toml:3:9: edges.ams.80 is 65536", A_PORT),
        (
            _edge("{ http = 8080 }"),
            "flysim.toml:3:9: edges.ams.http is no public port",
            "a port of fly.toml: a whole number from 1 to 65535",
        ),
        (_edge("{ 0 = 8080 }"), "flysim.toml:3:9: edges.ams.0 is no public port", "a port of fly.toml"),
        (
            _edge("{ 80 = 8080, 9090 = 8080 }"),
            "flysim.toml:3:20: edges.ams.9090: port 8080 is that of edges.ams.80 (line 3)",
            "another port, or 0 for any free one",
        ),
        (
            _edge("{ 443 = 8443, 9090 = 8443 }"),
            "flysim.toml:3:21: edges.ams.9090: port 8443 is that of edges.ams.443 (line 3)",
            "another port, or 0 for any free one",
        ),
        (_machine("region = 'ams'", "group = ''"), 'machines[0].group is ""', "a text that is not empty"),
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
def test_what_is_wrong_is_told_with_place_reading_and_expectation(
    tmp_path: Path, text: str, problem: str, expected: str
) -> None:
    said = problem_of(tmp_path, text)

    assert f"{problem}\n  expected: {expected}" in said
    assert said.count("expected:") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 1\nedges = {\n", "flysim.toml:2:10: not TOML: "),
        ("version = \n", "flysim.toml:1:11: not TOML: invalid value, in `version =`"),
        (
            "version = 1\nversion = 1\n",
            "flysim.toml:2:12: not TOML: cannot overwrite a value, in `version = 1`",
        ),
        ("version = 1\n[edges", "flysim.toml:2"),
        ("x = " + "[" * 5_000 + "]" * 5_000, "flysim.toml"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    assert problem_of(tmp_path, text).startswith(problem)


def test_bytes_that_are_no_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "flysim.toml"
    path.write_bytes(b"version = 1\n# caf\xe9\n")

    with pytest.raises(InputError) as caught:
        load_config(path)

    assert (caught.value.line, caught.value.problem) == (2, "byte 0xe9 is not UTF-8")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "flysim.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + APP).replace("\n", "\r\n").encode())

    assert load_config(path).machines[0].region == "ams"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: there is no such file in "):
        load_config(tmp_path / "nowhere.toml")


def test_a_fly_toml_that_is_not_there_is_named_where_it_is_asked_for(tmp_path: Path) -> None:
    said = problem_of(tmp_path, _app('fly_toml = "app/fly.toml"'))

    assert said == (
        'flysim.toml:5:1: apps.chat.fly_toml is "app/fly.toml", and there is no file app/fly.toml\n'
        f"  expected: the path of the app's own fly.toml, from {tmp_path}"
    )


def test_everything_wrong_is_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
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

    said = problem_of(tmp_path, text, 'kill_signal = "INT"\n')

    assert [line.split(": ")[0] for line in said.splitlines() if not line.startswith(" ")] == [
        "fly.toml:1:1",
        "flysim.toml:3:1",
        "flysim.toml:4:1",
        "flysim.toml:6:1",
        "flysim.toml:12:1",
        "flysim.toml:13:1",
    ]


def test_no_more_is_said_of_an_app_whose_fly_toml_is_wrong(tmp_path: Path) -> None:
    said = problem_of(tmp_path, _app('fly_toml = "fly.toml"'), "app = 3\n")

    assert said == "fly.toml:1:1: app is 3\n  expected: a text in quotes"


class Lines:
    """A `Source` such as a scenario's: it knows one line."""

    path = Path("scenario.yaml")

    def line(self, key_path: tuple[str | int, ...]) -> int | None:
        return 12 if key_path == ("edges", "ams") else None

    def column(self, key_path: tuple[str | int, ...]) -> int | None:
        return None


def test_an_inline_configuration_is_told_of_with_the_lines_of_its_own_file(tmp_path: Path) -> None:
    machines = [{"region": "ams"}]
    data = {"edges": {"ams": "x"}, "apps": {"chat": {"command": "serve", "machines": machines}}}

    with pytest.raises(InputError, match=r'^scenario\.yaml:12: edges\.ams is "x"'):
        parse_config(data, tmp_path, Lines())


def test_the_files_that_the_tables_build_on_are_right(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + APP).machines
    assert load(tmp_path, _app("command = 'x'")).machines
    assert load(tmp_path, _machine("region = 'ams'")).machines
    assert write(tmp_path, "x").read_text() == "x"


def test_a_group_that_fly_toml_has_not_is_told_with_those_it_has(tmp_path: Path) -> None:
    """F-9.15."""
    fly_toml = '[http_service]\nprocesses = ["web"]\n[processes]\nweb = "serve"\nworker = "work"\n'
    text = _app('fly_toml = "fly.toml"') + 'group = "wep"\n'

    assert problem_of(tmp_path, text, fly_toml) == (
        'flysim.toml:8:1: apps.chat.machines[0].group is "wep"; did you mean "web"?\n'
        "  expected: a process group of fly.toml: web, worker"
    )


def test_a_group_without_a_command_is_told_of(tmp_path: Path) -> None:
    """F-9.15: a service may name a group that [processes] has not."""
    fly_toml = '[http_service]\nprocesses = ["web"]\n[processes]\nworker = "work"\n'
    text = _app('fly_toml = "fly.toml"') + 'group = "web"\n'

    assert "nothing says how to start a machine of apps.chat" in problem_of(tmp_path, text, fly_toml)
