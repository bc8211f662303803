"""gRPC through an `h2_backend` service, with grpcio on both sides and machines as processes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.command import start_up
from tests.e2e.grpc_calls import AMS, DFW, FLY_TOML, check_calls

APP = Path(__file__).with_name("grpc_app.py")


def test_each_kind_of_grpc_call_passes_and_a_unary_call_is_replayed(tmp_path: Path) -> None:
    command = json.dumps(["{python}", str(APP)])
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    config = tmp_path / "flysim.toml"
    config.write_text(
        "version = 1\nedges = { ams = 0 }\ncontrol = { port = 0 }\n"
        f'[apps.rooms]\nfly_toml = "fly.toml"\ncommand = {command}\nenv = {{ HOST = "{{host}}", PORT = "{{port}}" }}\n'
        f'machines = [{{ region = "ams", id = "{AMS}" }}, {{ region = "dfw", id = "{DFW}" }}]\n'
    )
    with start_up(tmp_path, config) as up:
        check_calls(up.edge("ams"))
