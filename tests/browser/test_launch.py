"""A browser that is there but cannot run: said why, skipped for an ordinary user, a failure for root."""

from pathlib import Path

import pytest
from playwright.sync_api import Playwright

from tests.browser.conftest import Unusable, give_up, launch, try_driver

MISSING = "error while loading shared libraries: libatomic.so.1: cannot open shared object file"


def broken(folder: Path) -> str:
    """A program that ends as one does whose libraries are missing."""
    program = folder / "broken"
    program.write_text(f"#!/bin/sh\necho '{MISSING}' >&2\nexit 127\n")
    program.chmod(0o755)
    return str(program)


def test_a_chromium_without_its_libraries_is_unusable_and_says_why(playwright: Playwright, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"libatomic\.so\.1"):
        launch(playwright, broken(tmp_path))


def test_a_driver_without_its_libraries_is_unusable_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", broken(tmp_path))
    with pytest.raises(Unusable, match=r"driver does not run: error while loading.*libatomic"):
        try_driver()


def test_an_ordinary_user_skips_and_root_fails() -> None:
    with pytest.raises(pytest.skip.Exception, match="no library"):
        give_up("no library", is_root=False)
    with pytest.raises(pytest.fail.Exception, match="no library"):
        give_up("no library", is_root=True)
