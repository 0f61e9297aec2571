"""API keys from a file of hashes, which is reloaded when it changes.

The file is one JSON object. A half-written object is never valid JSON, so a file that is still
being written cannot be mistaken for one with fewer keys.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from backend.aio.periodic import repeating
from backend.api.auth.identity import Identity, is_user_id
from backend.domain.errors import NotAuthenticated, UnusableSetting

logger = structlog.get_logger()

LOOK_SECONDS = 1.0

Stamp = tuple[int, int, int] | None
"""The file's inode, modification time in ns, and size; None if there is no file."""


class UnusableKeyFile(UnusableSetting):
    """The message never contains any part of a key."""

    setting = "API_KEYS_FILE"


def new_key() -> str:
    """Return a new key of 256 random bits: too many to guess, so that a fast hash is enough."""
    return f"lex_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _named(user: str) -> str:
    if not is_user_id(user):
        raise ValueError("must be 1 to 255 printable ASCII characters without spaces")
    return user


class ApiKey(BaseModel):
    """One entry: the hash of a key, and its user. A trusted key acts for any user it names.

    An operator sees the usage of all users.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    user: Annotated[str, AfterValidator(_named)] | None = None
    trusted: bool = False
    operator: bool = False

    @model_validator(mode="after")
    def _speaks_for_somebody(self) -> Self:
        if self.trusted == (self.user is not None):
            raise ValueError('needs either a "user" or "trusted": true')
        return self

    def vouches_for(self, identity: Identity) -> bool:
        is_user = self.trusted or self.user == identity.user_id
        return is_user and (self.operator or not identity.is_operator)


class KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _tells_keys_apart(self) -> Self:
        for each in ("name", "hash"):
            if len({getattr(key, each) for key in self.keys}) < len(self.keys):
                raise ValueError(f"has two keys with the same {each}")
        return self


class ApiKeys:
    """An `Authority`."""

    def __init__(self, path: Path, keys: tuple[ApiKey, ...], stamp: Stamp) -> None:
        self._path = path
        self._keys = keys
        self._judged = stamp
        """The state of the file at the last load, successful or not."""
        self._seen = stamp

    @classmethod
    @asynccontextmanager
    async def watched(cls, path: Path) -> AsyncIterator[Self]:
        """Load the file, and reload it on changes until the block ends. Raises: UnusableKeyFile."""
        keys = await cls.load(path)
        async with repeating(keys.reload, every_seconds=LOOK_SECONDS, name="reload_api_keys"):
            yield keys

    @classmethod
    async def load(cls, path: Path) -> Self:
        """Load the file once. Raises: UnusableKeyFile."""
        stamp = await asyncio.to_thread(_stamp, path)
        return cls(path, await asyncio.to_thread(_read, path), stamp)

    async def reload(self) -> None:
        """Load the file if it has changed and is complete.

        It is complete when its state is the same in two calls in a row, and after reading. An
        invalid file is logged once, and the old keys stay in use.
        """
        stamp, before = await asyncio.to_thread(_stamp, self._path), self._seen
        self._seen = stamp
        if stamp == self._judged or stamp != before:
            return
        try:
            keys = await asyncio.to_thread(_read, self._path)
        except UnusableKeyFile as error:
            logger.warning("api_keys_not_reloaded", error=str(error))
        else:
            if await asyncio.to_thread(_stamp, self._path) != stamp:
                return
            self._keys = keys
            logger.info("api_keys_reloaded", keys=len(keys))
        self._judged = stamp

    async def identify(self, credential: str) -> Identity:
        """Raises: NotAuthenticated."""
        key = self._find(hash_of(credential))
        if key is None:
            raise NotAuthenticated
        return Identity(user_id=key.user, key=key.hash, key_name=key.name, is_operator=key.operator)

    def still_vouches(self, identity: Identity) -> bool:
        key = self._find(identity.key or "")
        return key is not None and key.vouches_for(identity)

    def _find(self, wanted: str) -> ApiKey | None:
        """In constant time: every hash is compared in full, even after a match."""
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.hash, wanted):
                found = key
        return found


def _stamp(path: Path) -> Stamp:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise UnusableKeyFile(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        # Leave out the invalid value: it may be a key that was put where its hash belongs.
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        raise UnusableKeyFile(f"{path}: {place}: {reason}") from None
