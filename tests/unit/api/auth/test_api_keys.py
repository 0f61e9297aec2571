"""The file of API keys: its format, and what happens when it changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.api.auth.api_keys import ApiKeys, UnusableKeyFile, hash_of, new_key
from backend.api.auth.identity import Identity
from backend.domain.errors import NotAuthenticated
from tests.credentials import key_file


async def user_of(keys: ApiKeys, key: str) -> str | None:
    return (await keys.identify(key)).user_id


async def knows(keys: ApiKeys, key: str) -> bool:
    try:
        await keys.identify(key)
    except NotAuthenticated:
        return False
    return True


async def look_twice(keys: ApiKeys) -> None:
    """The first look sees a change, the second that the file is complete."""
    await keys.reload()
    await keys.reload()


async def test_a_key_speaks_for_its_user_and_a_trusted_one_for_nobody_yet(tmp_path: Path) -> None:
    keys = await ApiKeys.load(key_file(tmp_path / "keys", first="123", second="123", gate=None))

    assert await user_of(keys, "first") == "123"
    assert await user_of(keys, "second") == "123"
    assert await user_of(keys, "gate") is None


@pytest.mark.parametrize("key", ["", "Key", "key ", "kéy", "x" * 100_000])
async def test_an_unknown_key_is_refused(tmp_path: Path, key: str) -> None:
    keys = await ApiKeys.load(key_file(tmp_path / "keys", key="123"))

    assert not await knows(keys, key)
    assert await knows(keys, "key")


async def test_the_hash_in_the_file_is_no_key(tmp_path: Path) -> None:
    keys = await ApiKeys.load(key_file(tmp_path / "keys", key="123"))

    assert not await knows(keys, hash_of("key"))


def test_new_keys_have_256_random_bits() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) == len("lex_") + 43


GOOD = {"name": "a", "hash": hash_of("a"), "user": "123"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "EOF"),
        ('{"keys": [', "EOF"),
        ("[]", "keys"),
        ("{}", "keys"),
        ({"keys": [GOOD], "kyes": []}, "kyes"),
        ({"keys": [{**GOOD, "hash": "lex_not_a_hash"}]}, "keys.0.hash"),
        ({"keys": [{**GOOD, "hash": hash_of("a").upper()}]}, "keys.0.hash"),
        ({"keys": [{**GOOD, "hash": hash_of("a") + "\n"}]}, "keys.0.hash"),
        ({"keys": [{**GOOD, "user": "a b"}]}, "keys.0.user"),
        ({"keys": [{**GOOD, "user": 5}]}, "keys.0.user"),
        ({"keys": [{**GOOD, "trusted": True}]}, 'either a "user" or'),
        ({"keys": [{**GOOD, "trusted": "yes"}]}, "keys.0.trusted"),
        ({"keys": [{"name": "a", "hash": hash_of("a")}]}, 'either a "user" or'),
        ({"keys": [{**GOOD, "expires": "never"}]}, "keys.0.expires"),
        ({"keys": [GOOD, {**GOOD, "name": "b"}]}, "the same hash"),
        ({"keys": [GOOD, {**GOOD, "hash": hash_of("b")}]}, "the same name"),
    ],
    ids=str,
)
async def test_a_file_that_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, content: Any, reason: str
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(UnusableKeyFile) as refused:
        await ApiKeys.load(path)

    line = str(refused.value)
    assert reason in line
    assert "\n" not in line
    assert "lex_not_a_hash" not in line


async def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UnusableKeyFile):
            await ApiKeys.load(path)


def rewrite(path: Path, **users: str | None) -> None:
    key_file(path, **users)


def replace(path: Path, **users: str | None) -> None:
    key_file(path.with_suffix(".new"), **users).replace(path)


def swap_link(path: Path, **users: str | None) -> None:
    """Replace a symbolic link, like Kubernetes does for a mounted secret."""
    new = path.with_suffix(".linked")
    new.unlink(missing_ok=True)
    new.symlink_to(key_file(path.with_suffix(".target"), **users))
    new.replace(path)


@pytest.mark.parametrize("write", [rewrite, replace, swap_link])
async def test_a_changed_file_is_taken_over(tmp_path: Path, write: Callable[..., None]) -> None:
    path = key_file(tmp_path / "keys", old="1", both="2")
    keys = await ApiKeys.load(path)

    write(path, both="2", new="1")
    await look_twice(keys)

    assert not await knows(keys, "old")
    assert await user_of(keys, "both") == "2"
    assert await user_of(keys, "new") == "1"


async def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    keys = await ApiKeys.load(key_file(tmp_path / "keys", key="1"))

    with capture_logs() as lines:
        await look_twice(keys)

    assert lines == []


async def test_no_beginning_of_a_file_is_taken_for_the_file(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", old="1")
    keys = await ApiKeys.load(path)
    whole = key_file(tmp_path / "whole", new="1", newer="1").read_text()

    for length in range(len(whole)):
        path.write_text(whole[:length])
        await look_twice(keys)
        assert await knows(keys, "old")
    path.write_text(whole)
    await look_twice(keys)

    assert not await knows(keys, "old")
    assert await knows(keys, "newer")


async def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", old="1")
    keys = await ApiKeys.load(path)

    with capture_logs() as lines:
        for length in range(10):
            path.write_text("x" * length)
            await keys.reload()

    assert lines == []


async def test_a_broken_file_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", key="1")
    keys = await ApiKeys.load(path)
    path.write_text('{"keys": [{"name": "a", "hash": "lex_pasted_here", "user": "1"}]}')

    with capture_logs() as lines:
        for _ in range(5):
            await keys.reload()

    assert [line["event"] for line in lines] == ["api_keys_not_reloaded"]
    assert "lex_pasted_here" not in str(lines)
    assert await knows(keys, "key")


async def test_a_file_that_is_gone_changes_nothing_until_it_is_back(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", key="1")
    keys = await ApiKeys.load(path)

    path.unlink()
    with capture_logs() as lines:
        for _ in range(5):
            await keys.reload()
    kept = await knows(keys, "key")
    key_file(path, other="1")
    await look_twice(keys)

    assert kept
    assert len(lines) == 1
    assert not await knows(keys, "key")
    assert await knows(keys, "other")


async def test_a_key_vouches_as_long_as_it_is_there_and_speaks_for_the_user(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", own="1", gate=None)
    keys = await ApiKeys.load(path)
    own = Identity(user_id="1", key=hash_of("own"))
    passed = Identity(user_id="2", key=hash_of("gate"))

    assert keys.still_vouches(own)
    assert keys.still_vouches(passed)
    assert not keys.still_vouches(Identity(user_id="2", key=hash_of("own")))
    assert not keys.still_vouches(Identity(user_id="1"))

    key_file(path, own="3", gate="1")
    await look_twice(keys)

    assert not keys.still_vouches(own)
    assert not keys.still_vouches(passed)
