from __future__ import annotations

from pathlib import Path

import pytest

from testbed import caches, compiled


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so that a folder without permission has to be played."""
    monkeypatch.setattr(compiled.os, "access", lambda _path, _mode: False)


def test_numba_finds_its_own_place_where_it_can_write(tmp_path: Path) -> None:
    assert compiled.cache_folder(tmp_path, tmp_path, tmp_path) is None


def test_a_user_without_a_home_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(caches.os, "getuid", lambda: 4_000_000_000)  # a number that no user has
    assert caches.home() is None
    (tmp_path / "file").touch()
    folder = compiled.cache_folder(tmp_path / "file" / "packages", None, tmp_path)
    assert folder is not None


@pytest.mark.usefixtures("locked")
def test_a_reader_who_can_write_nowhere_gets_a_private_folder_and_finds_it_again(tmp_path: Path) -> None:
    folder = compiled.cache_folder(tmp_path, tmp_path, tmp_path)
    assert folder is not None
    assert folder.stat().st_mode & 0o077 == 0
    assert compiled.cache_folder(tmp_path, tmp_path, tmp_path) == folder


@pytest.mark.usefixtures("locked")
def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    first = compiled.cache_folder(tmp_path, tmp_path, tmp_path)
    assert first is not None
    first.chmod(0o777)
    second = compiled.cache_folder(tmp_path, tmp_path, tmp_path)
    assert second is not None
    assert second != first
    assert second.stat().st_mode & 0o077 == 0
