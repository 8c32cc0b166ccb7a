"""The asset script: pinned by the lock, whole or not at all, idle when nothing changed, calm without a network."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import web_assets

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "lightweight-charts": {
        "package.json": '{"name": "lightweight-charts", "version": "5.2.1", "license": "Apache-2.0"}',
        "LICENSE": "Apache License",
        "dist/lightweight-charts.standalone.production.mjs": "export const candles = 1;\n" * 200,
    },
    "fancy-canvas": {
        "package.json": '{"name": "fancy-canvas", "version": "2.1.0", "license": "MIT", "author": "someone"}'
    },
    "@fontsource-variable/inter": {
        "package.json": '{"name": "@fontsource-variable/inter", "version": "5.3.0", "license": "OFL-1.1"}',
        "LICENSE": "SIL Open Font License",
        "files/inter-latin-wght-normal.woff2": "glyphs",
    },
}


class Packages:
    """An installer that unpacks the packages above and counts how often it was asked."""

    def __init__(self, *, without: str = "") -> None:
        self.without = without
        self.calls = 0

    def __call__(self, project: Path) -> None:
        self.calls += 1
        assert {path.name for path in project.iterdir()} == set(web_assets.NPM_INPUTS)
        for package, files in PACKAGES.items():
            for name, text in files.items():
                target = project / "node_modules" / package / name
                if name == self.without:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Path]:
    """A frontend folder that holds what npm needs and nothing else."""
    folder = tmp_path / "frontend"
    folder.mkdir()
    for name in web_assets.NPM_INPUTS:
        (folder / name).write_bytes((ROOT / "frontend" / name).read_bytes())
    yield folder
    leftovers = [path.name for path in folder.iterdir() if path.name not in (*web_assets.NPM_INPUTS, "vendor")]
    assert not leftovers, "temporary folders stay behind"


def test_the_vendor_folder_holds_assets_twins_licences_and_a_manifest(frontend: Path) -> None:
    web_assets.refresh(frontend, Packages())
    vendor = frontend / "vendor"
    library = (vendor / "lightweight-charts.js").read_bytes()
    assert library.startswith(b"export const candles")
    assert gzip.decompress((vendor / "lightweight-charts.js.gz").read_bytes()) == library
    assert not (vendor / "inter-latin.woff2.gz").exists(), "a twin that saves nothing is not written"
    assert (vendor / "licenses" / "inter.txt").read_text() == "SIL Open Font License"
    assert "MIT" in (vendor / "licenses" / "fancy-canvas.txt").read_text()
    manifest = json.loads((vendor / "manifest.json").read_text())
    assert manifest["packages"] == {"lightweight-charts": "5.2.1", "@fontsource-variable/inter": "5.3.0"}
    assert web_assets.is_current(frontend)


def test_a_changed_file_or_lock_makes_the_folder_stale(frontend: Path) -> None:
    assert not web_assets.is_current(frontend)
    web_assets.refresh(frontend, Packages())
    library = frontend / "vendor" / "lightweight-charts.js"
    original = library.read_bytes()
    library.write_bytes(b"tampered")
    assert not web_assets.is_current(frontend)
    library.write_bytes(original)
    assert web_assets.is_current(frontend)
    with (frontend / "package-lock.json").open("a") as lock:
        lock.write("\n")
    assert not web_assets.is_current(frontend)


@pytest.mark.parametrize("manifest", ("", "[]", "{}", '{"inputs": {}, "files": 3}', "\x00"))
def test_a_broken_manifest_is_stale_not_fatal(frontend: Path, manifest: str) -> None:
    web_assets.refresh(frontend, Packages())
    (frontend / "vendor" / "manifest.json").write_text(manifest)
    assert not web_assets.is_current(frontend)


def test_a_missing_file_in_a_package_leaves_the_old_folder_alone(frontend: Path) -> None:
    web_assets.refresh(frontend, Packages())
    before = (frontend / "vendor" / "manifest.json").read_bytes()
    with pytest.raises(web_assets.Unavailable, match="woff2"):
        web_assets.refresh(frontend, Packages(without="files/inter-latin-wght-normal.woff2"))
    assert (frontend / "vendor" / "manifest.json").read_bytes() == before
    assert web_assets.is_current(frontend)


def test_without_packages_it_warns_and_only_require_fails(
    frontend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(_project: Path) -> None:
        raise web_assets.Unavailable("npm exited 1: getaddrinfo ENOTFOUND")

    monkeypatch.setattr(web_assets, "FRONTEND", frontend)
    monkeypatch.setattr(web_assets, "npm_ci", no_network)
    assert web_assets.main([]) == 0
    assert "no candles" in capsys.readouterr().err
    assert web_assets.main(["--require"]) == 1
    assert not (frontend / "vendor").exists()


def test_a_second_run_does_nothing(
    frontend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = Packages()
    monkeypatch.setattr(web_assets, "FRONTEND", frontend)
    monkeypatch.setattr(web_assets, "npm_ci", packages)
    assert web_assets.main(["--require"]) == 0
    assert web_assets.main(["--require"]) == 0
    assert packages.calls == 1
    assert "up to date" in capsys.readouterr().out


def test_a_failing_command_says_why(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('error: no such package'); raise SystemExit(3)"]
    with pytest.raises(web_assets.Unavailable, match="exited 3: error: no such package"):
        web_assets.run(failing, cwd=tmp_path)
    with pytest.raises(web_assets.Unavailable, match="no-such-program"):
        web_assets.run(["no-such-program"], cwd=tmp_path)


def test_the_lock_pins_by_checksum_and_holds_no_address() -> None:
    lock = json.loads((ROOT / "frontend" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_vendored_files_stay_out_of_git() -> None:
    listed = subprocess.run(
        ["git", "check-ignore", "frontend/vendor/lightweight-charts.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 128:
        pytest.skip("not a git checkout")
    assert listed.stdout.strip() == "frontend/vendor/lightweight-charts.js"
