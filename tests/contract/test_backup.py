"""A SQLite database is backed up and restored while a worker uses it."""

import sqlite3
from pathlib import Path

import pytest

from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.backup import main
from tests.contract.conversations import OWNER, new_turn, say


async def questions(stores: Stores) -> list[str]:
    stored = await stores.sessions.messages(OWNER, "s1")
    return [each.message.content for each in stored if each.message.role == "user"]


@pytest.fixture
def file(tmp_path: Path, migrated_file: Path) -> Path:
    copied = tmp_path / "lex.db"
    copied.write_bytes(migrated_file.read_bytes())
    return copied


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_a_restore_brings_back_what_the_backup_has(tmp_path: Path, file: Path) -> None:
    copy = tmp_path / "before.db"
    environment = {"DATABASE_URL": f"sqlite:///{file}"}
    stores = await open_stores(environment["DATABASE_URL"], lease_seconds=60, migrate=True)

    await say(stores.sessions, new_turn("First"), "Yes.")
    await stores.sessions.rename(OWNER, "s1", title="Before")
    codes = [main(environment, [str(copy)])]
    await say(stores.sessions, new_turn("Second"), "Yes.")
    await stores.sessions.rename(OWNER, "s1", title="After")
    both = await questions(stores)
    codes.append(main(environment, ["--restore", str(copy)]))
    one = await questions(stores)
    title = (await stores.sessions.get(OWNER, "s1")).title
    await say(stores.sessions, new_turn("Third"), "Yes.")
    last = await questions(stores)
    await stores.close()

    assert codes == [0, 0]
    assert title == "Before"
    assert (both, one, last) == (["First", "Second"], ["First"], ["First", "Third"])
    assert names_in(tmp_path) == ["before.db", "lex.db"]


@pytest.mark.parametrize(
    ("url", "arguments", "told"),
    [
        ("sqlite:///{}/lex.db", ["{}/lex.db"], "exists already"),
        ("sqlite:///{}/none.db", ["{}/new.db"], "none.db is not a file"),
        ("sqlite:///{}/lex.db", ["--restore", "{}/none.db"], "none.db is not a file"),
        ("sqlite:///{}/lex.db", ["--restore", "{}/text.db"], "file is not a database"),
        ("sqlite:///{}/lex.db", ["--restore", "{}/other.db"], "not a database of Lex"),
        ("postgresql://somewhere/lex", ["{}/new.db"], "pg_dump"),
        ("sqlite:///{}/lex.db", [], "usage"),
        ("sqlite:///{}/lex.db", ["--help"], "usage"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    url: str,
    arguments: list[str],
    told: str,
    tmp_path: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = file.read_bytes()
    (tmp_path / "text.db").write_text("no database " * 100)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE strangers (name TEXT)")
    other.close()

    code = main(
        {"DATABASE_URL": url.format(tmp_path)}, [each.format(tmp_path) for each in arguments]
    )

    assert code != 0
    assert told in capsys.readouterr().err
    assert file.read_bytes() == before
    assert not (tmp_path / "new.db").exists()
