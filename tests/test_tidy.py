"""House rules that no linter knows, checked on the source itself."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

import pytest

from trading_engine.api import EXTENSION
from trading_engine.api.problems import PROBLEMS
from trading_engine.app import create_app
from trading_engine.config import Config
from trading_engine.exchange.messages import REFUSALS
from trading_engine.runtime import Runtime

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "trading_engine"
MODULES = sorted(ENGINE.rglob("*.py"))
PURE = sorted((ENGINE / "exchange").rglob("*.py"))

IMPURE = {"asyncio", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors"}
IMPURE |= {"shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "time", "uuid"}
LONGEST_MODULE = 500
FLOATS_INDEX_LEVELS = {"book.py", "grid.py", "market.py", "watching.py"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def tracked_text() -> list[Path]:
    """Every text file that belongs to the project, also before its first commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    binary = {".png", ".woff2", ".gz", ".ico"}
    return [path for line in listed if (path := ROOT / line).is_file() and path.suffix not in binary]


# --- the pure middle ---


@pytest.mark.parametrize("module", PURE, ids=name_of)
def test_the_exchange_imports_itself_and_the_pure_part_of_the_standard_library(module: Path) -> None:
    for node in nodes(module):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imported = [str(node.module)]
        else:
            continue
        for name in imported:
            top = name.partition(".")[0]
            if top == "trading_engine":
                assert name.startswith("trading_engine.exchange"), name
            else:
                assert top in sys.stdlib_module_names - IMPURE, name


@pytest.mark.parametrize("module", PURE, ids=name_of)
def test_the_exchange_reads_no_clock_and_takes_only_locks_from_threading(module: Path) -> None:
    for node in nodes(module):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today"}, f"line {node.lineno} reads the wall clock"
            if isinstance(node.value, ast.Name) and node.value.id == "threading":
                assert node.attr in {"Lock", "RLock", "get_ident"}, f"line {node.lineno}: threading.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "threading":
            assert {alias.name for alias in node.names} <= {"Lock", "RLock", "get_ident"}


@pytest.mark.parametrize("module", [module for module in PURE if module.name not in FLOATS_INDEX_LEVELS], ids=name_of)
def test_the_exchange_writes_no_float(module: Path) -> None:
    """A Decimal compares with a float without the trap going off, so there is none to compare with.

    But for the four modules where a float is the index of a book's level, up to the door where it becomes a price.
    """
    written = [
        node.lineno for node in nodes(module) if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    assert written == []


@pytest.mark.parametrize("module", PURE, ids=name_of)
def test_the_exchange_never_walks_a_set(module: Path) -> None:
    """The order of a set changes from run to run, and with it the order of events."""
    for node in nodes(module):
        walked = node.iter if isinstance(node, ast.For | ast.comprehension) else None
        assert not isinstance(walked, ast.Set | ast.SetComp), name_of(module)
        if isinstance(walked, ast.Call) and isinstance(walked.func, ast.Name):
            assert walked.func.id not in {"set", "frozenset"}, f"line {walked.lineno}"


def test_only_the_runtime_starts_threads_and_the_worker_those_of_its_requests() -> None:
    starters = set()
    for module in MODULES:
        if "simulator" in module.parts:
            continue  # a program of its own
        for node in nodes(module):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}:
                    starters.add(name_of(module))
    assert starters == {"trading_engine/runtime.py", "trading_engine/worker.py"}


# --- signs on the doors ---


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))), "no docstring"


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {module.parent for module in MODULES if "migrations" not in module.parts}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_no_module_outgrows_its_room() -> None:
    lengths = {name_of(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_an_exception_from_a_rule_says_why() -> None:
    marker = re.compile(r"#\s*(?:noqa: ?[A-Z0-9, ]*[A-Z0-9]|type: ignore\[[a-z, -]+\])(?P<reason>.*)")
    bare = [
        f"{name_of(path)}:{number}"
        for path in tracked_text()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := marker.search(line)) and not re.match(r"\s*[#–-]+ *\w+", found["reason"])
    ]
    assert bare == []


# --- nothing left lying about ---


def test_nothing_is_put_off_and_nobodys_machine_is_in_the_tree() -> None:
    unwanted = re.compile(
        r"\b(?:TO[D]O|FIX[M]E|X{3}|HA[C]K)\b|NotImplement[e]dError"  # said in issues, not in the code
        r"|/(?:hom[e]|roo[t]|User[s]|wor[k])/"  # a path on somebody's disk
        r"|\bpypi\.or[g]|files\.pythonhosted\.or[g]|registry\.npmjs\.or[g]"  # pins are checked by hash, from any index
    )
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in tracked_text()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if unwanted.search(line)
    ]
    assert found == []


# --- what users rely on is written down ---


def table_names(document: str, heading: str) -> set[str]:
    """The names in backquotes in the first column of the table under a heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", document, maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\|([^|]+)\|", section, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_readme_explains_every_setting_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table_names(readme, "Settings") == {field.name.upper() for field in fields(Config)}


def test_the_architecture_page_lists_every_module_and_no_other() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\b[\w.]+\.py\b", page)) - {"__init__.py"}
    described_elsewhere = {"simulator", "versions"}
    modules = {module.name for module in MODULES if not described_elsewhere & set(module.parts)} - {"__init__.py"}
    modules |= {path.name for folder in (ROOT, ROOT / "tools") for path in folder.glob("*.py")}
    assert listed - modules == set(), "gone from the tree"
    assert modules - listed == set(), "missing on the page"


def test_the_simulator_lists_its_rooms() -> None:
    sign = ast.get_docstring(ast.parse((ENGINE / "simulator/__init__.py").read_text(encoding="utf-8"))) or ""
    listed = re.findall(r"\b[\w.*]+\.py\b", sign)
    present = {module.name for module in MODULES if "simulator" in module.parts} - {"__init__.py", "__main__.py"}
    assert [name for name in sorted(present) if not any(fnmatch(name, pattern) for pattern in listed)] == []


def test_the_operations_page_explains_every_metric_and_no_other() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    runtime: Runtime = create_app(Config()).extensions[EXTENSION]
    families = runtime.metrics.registry.collect()
    exposed = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert table_names(page, "Metrics") == exposed


def test_the_api_page_lists_every_refusal_code_with_its_status() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    listed = {code: int(status) for code, status in re.findall(r"^\| `(\w+)` \| (\d{3}) \|", page, re.MULTILINE)}
    assert listed == {code: refusal.status for code, refusal in {**REFUSALS, **PROBLEMS}.items()}


def test_the_api_page_lists_every_endpoint_and_no_other() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    path_value = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
    endpoints = {
        " ".join((method, path_value.sub(r"{\1}", rule.rule)))
        for rule in create_app(Config()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert table_names(page, "Endpoints") == endpoints


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{name_of(document)}: {target}"
