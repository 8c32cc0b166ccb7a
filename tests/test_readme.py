"""The README's examples, run in its order against a fresh server: they work, and answers look as printed there."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers import Server, Stream, Venue, send, wait_until

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


def examples() -> Iterator[tuple[list[str], Any]]:
    """Yield each curl command as its words, with the answer printed below it or None."""
    blocks = re.findall(r"```sh\n(.*?)```(?:\s*```json\n(.*?)```)?", README, re.DOTALL)
    for script, answer in blocks:
        commands = [shlex.split(line) for line in script.replace("\\\n", " ").splitlines() if line.startswith("curl ")]
        for command in commands:
            yield command, json.loads(answer) if answer and command is commands[-1] else None


def request_of(command: list[str]) -> tuple[str, str, bytes | None]:
    """Read method, path and body off a curl command."""
    words = iter(command[1:])
    method, url, body = "GET", "", None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-d":
            body = next(words).encode()
        elif word == "-H":
            assert next(words) == "Content-Type: application/json"
        elif not word.startswith("-"):
            url = word
    parts = urlsplit(url)
    assert parts.netloc == "127.0.0.1:8080", url
    return method, parts.path + (f"?{parts.query}" if parts.query else ""), body


def shape(value: Any) -> Any:
    """What stays the same from run to run: names, kinds, and how deep they lie."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return None if value is None else type(value)


def test_every_example_does_what_the_readme_says(tmp_path: Path) -> None:
    commands = list(examples())
    assert len(commands) > 5
    with Venue(tmp_path / "venue") as venue, Server(tmp_path, {**venue.settings}) as server:
        server.wait_live()
        wait_until(lambda: "null" not in server.get("/api/v1/prices").text, "the figures of the day are there")
        for command, printed in commands:
            method, path, body = request_of(command)
            if "/stream" in path:
                with Stream(server.port, path.removeprefix("/api/v1/stream")) as stream:
                    assert stream.wait_for("hello")["account"] == "default"
                continue
            reply = send(server.port, method, path, body)
            if printed is not None and "status" in printed and isinstance(printed["status"], int):
                assert reply.json == printed, "a refusal is the same every time"
            else:
                assert reply.status in {200, 201}, reply.text
            if printed is not None:
                assert shape(reply.json) == shape(printed), command


def test_the_limit_order_of_the_readme_can_be_repeated(tmp_path: Path) -> None:
    (command,) = (command for command, _ in examples() if "client_order_id" in " ".join(command) and "-d" in command)
    method, path, body = request_of(command)
    with Venue(tmp_path / "venue") as venue, Server(tmp_path, {**venue.settings}) as server:
        server.wait_live()
        first, second = (send(server.port, method, path, body) for _ in range(2))
    assert (first.status, second.status) == (201, 200)
    assert first.json["id"] == second.json["id"]
