"""The files around the code agree with each other and with it: commands, pins, containers, platforms."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from trading_engine.config import Config

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {field.name.upper() for field in fields(Config)}
START = "gunicorn wsgi:app"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False
    )


# --- commands ---


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("target", sorted(make_targets()))
def test_make_can_plan_every_target(target: str) -> None:
    planned = run("make", "--dry-run", target)
    assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize("workers", ("x", "1.5", "-1", "1 2"))
def test_make_run_refuses_a_number_of_workers_that_is_none_in_one_line(workers: str) -> None:
    refused = run("make", "--silent", "run", WEB_CONCURRENCY=workers)
    assert refused.returncode != 0
    said = [line for line in refused.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"paper-exchange cannot start: WEB_CONCURRENCY='{workers}' is wrong: it must be 1, or not set"]
    assert refused.stdout == ""


def test_the_documents_name_only_commands_that_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md", *(str(path) for path in (ROOT / "docs").glob("*.md"))):
        commands = re.findall(r"(?:`|^\s*)make ([a-z]+)", read(document), re.MULTILINE)
        assert set(commands) <= make_targets(), document


def test_the_makefile_runs_files_that_exist() -> None:
    for script in re.findall(r"(?:tools|bench)/\S+\.(?:py|sh)", read("Makefile")):
        assert (ROOT / script).is_file(), script
    assert os.access(ROOT / "tools/bootstrap.sh", os.X_OK)


def test_continuous_integration_runs_what_contributors_run() -> None:
    lines = read(".ci/run").splitlines()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert lines[-1] == "exec make --no-print-directory test"


def test_the_hooks_run_the_tools_of_the_virtual_environment() -> None:
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["entry"].startswith(".venv/bin/")


# --- the environment ---


def bootstrap(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of bootstrap.sh where the only programs are the given sh scripts and a few harmless ones."""
    binaries = folder / "bin"
    binaries.mkdir()
    for harmless in ("dirname", "sh"):
        (binaries / harmless).symlink_to(str(shutil.which(harmless)))
    for name, script in programs.items():
        (binaries / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (binaries / name).chmod(0o755)
    (folder / "tools").mkdir()
    copy = shutil.copy(ROOT / "tools/bootstrap.sh", folder / "tools")
    return subprocess.run(
        [copy, "run"], env={"PATH": str(binaries)}, capture_output=True, text=True, timeout=30, check=False
    )


NO_ENSUREPIP = 'case "$*" in *ensurepip*) exit 1;; *) exit 0;; esac'


def test_an_old_python_is_named(tmp_path: Path) -> None:
    done = bootstrap(tmp_path, python3='case "$1" in --version) echo "Python 3.9.2";; *) exit 1;; esac')
    assert done.returncode == 1
    assert done.stderr == "Python 3.11 or newer is needed. Found: Python 3.9.2.\n"


def test_no_python_is_said(tmp_path: Path) -> None:
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert "Found:" in done.stderr
    assert "no python3" in done.stderr


def test_an_ordinary_user_without_ensurepip_is_told_the_command(tmp_path: Path) -> None:
    done = bootstrap(tmp_path, python3=NO_ENSUREPIP, id="echo 1000")
    assert done.returncode == 1
    assert "apt-get -o DPkg::Lock::Timeout=300 install -y" in done.stderr
    assert done.stderr.rstrip().endswith("python3-venv")
    assert not (tmp_path / ".venv").exists()


def test_root_on_another_system_is_told_too(tmp_path: Path) -> None:
    done = bootstrap(tmp_path, python3=NO_ENSUREPIP, id="echo 0")
    assert done.returncode == 1
    assert "ensurepip" in done.stderr


# --- pins ---


def pins(name: str) -> dict[str, str]:
    """Package -> version with the rule when it applies, of a requirements file."""
    return dict(re.findall(r"^([a-z0-9-]+)==(.+?) \\$", read(name), re.MULTILINE))


def test_the_test_tools_come_on_top_of_what_the_server_runs_on() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("name", ("requirements.txt", "requirements-dev.txt"))
def test_every_requirement_is_pinned_with_hashes_and_names_no_index(name: str) -> None:
    lines = [line for line in read(name).splitlines() if not line.lstrip().startswith("#")]
    assert len(pins(name)) == sum(not line.startswith(" ") for line in lines) > 20
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines if line.startswith(" "))
    assert "://" not in read(name)


def test_everything_that_pyproject_asks_for_is_pinned() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for name, wanted in (
        ("requirements.txt", project["dependencies"]),
        ("requirements-dev.txt", project["optional-dependencies"]["dev"]),
    ):
        packages = {re.split(r"[\[<>=]", line, maxsplit=1)[0] for line in wanted}
        assert packages <= pins(name).keys()


# --- containers and platforms ---


def dockerfile() -> list[tuple[str, str]]:
    lines = [line for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    rules = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    for word, rest in dockerfile():
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert included(source, rules), source


def included(path: str, rules: list[str]) -> bool:
    """Apply .dockerignore: the last rule that matches the path or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    verdict = True
    for rule in rules:
        if any(fnmatch(name, rule.removeprefix("!")) for name in above):
            verdict = rule.startswith("!")
    return verdict


def test_the_image_starts_the_server_without_privileges() -> None:
    lines = dockerfile()
    assert [rest for word, rest in lines if word == "USER"] == ["exchange"]
    assert lines[-1] == ("CMD", json.dumps(START.split()))
    assert any(word == "HEALTHCHECK" and "/health" in rest for word, rest in lines)
    assert "VOLUME" not in {word for word, _ in lines}, "Railway's builder refuses it"


def test_the_image_sets_only_settings_that_exist() -> None:
    (variables,) = (rest for word, rest in dockerfile() if word == "ENV")
    given = dict(part.split("=") for part in variables.split())
    assert given.keys() - {"PYTHONDONTWRITEBYTECODE"} <= SETTINGS
    assert given["PUBLIC"] == "1"


def test_compose_keeps_the_data_and_insists_on_a_password() -> None:
    compose = yaml.safe_load(read("docker-compose.yml"))
    exchange = compose["services"]["exchange"]
    assert exchange["environment"].keys() <= SETTINGS
    assert exchange["environment"]["ACCESS_PASSWORD"].startswith("${ACCESS_PASSWORD:?")
    assert f"data:{exchange['environment']['DATA_DIR']}" in exchange["volumes"]
    assert "profiles" not in exchange
    assert compose["services"]["postgres"]["profiles"] == ["postgres"]
    mounted = {volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    assert mounted == compose["volumes"].keys()


def test_render_starts_a_protected_server_outside_the_united_states() -> None:
    (service,) = yaml.safe_load(read("render.yaml"))["services"]
    assert service["startCommand"] == START
    assert service["healthCheckPath"] == "/health"
    assert service["region"] in {"frankfurt", "singapore"}
    for file in re.findall(r"[\w/.]+\.(?:txt|py)", service["buildCommand"]):
        assert (ROOT / file).is_file(), file
    variables: dict[str, dict[str, Any]] = {line["key"]: line for line in service["envVars"]}
    assert variables.keys() - {"PYTHON_VERSION"} <= SETTINGS
    assert variables["PUBLIC"]["value"] == "1"
    assert variables["ACCESS_PASSWORD"] == {"key": "ACCESS_PASSWORD", "generateValue": True}
    assert variables["DATA_DIR"]["value"] == service["disk"]["mountPath"]


def test_render_and_the_image_run_the_same_python() -> None:
    (service,) = yaml.safe_load(read("render.yaml"))["services"]
    (version,) = (line["value"] for line in service["envVars"] if line["key"] == "PYTHON_VERSION")
    bases = {rest.split()[0] for word, rest in dockerfile() if word == "FROM"}
    assert bases == {f"python:{version.rpartition('.')[0]}-slim-bookworm"}


def test_railway_builds_the_image_and_checks_its_health() -> None:
    railway = json.loads(read("railway.json"))
    assert (ROOT / railway["build"]["dockerfilePath"]).is_file()
    assert railway["deploy"]["healthcheckPath"] == "/health"
    assert [region["numReplicas"] for region in railway["deploy"]["multiRegionConfig"].values()] == [1]
    assert isinstance(railway["deploy"]["drainingSeconds"], int), "its parser refuses text"


def test_the_procfile_starts_the_same_server() -> None:
    assert read("Procfile") == f"web: {START}\n"


def test_the_example_settings_are_all_settings() -> None:
    names = re.findall(r"^#?([A-Z_]+)=", read(".env.example"), re.MULTILINE)
    assert sorted(names) == sorted(SETTINGS)


def test_the_example_is_accepted_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    example = re.sub(r"^#(?=[A-Z_]+=)", "", read(".env.example"), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(example, encoding="utf-8")
    config, default = Config.from_environment(), Config()
    invented = {"market_rest_url", "market_ws_url", "database_url", "allowed_hosts"}
    for field in fields(Config):
        if field.name not in invented:
            assert getattr(config, field.name) == getattr(default, field.name), field.name
