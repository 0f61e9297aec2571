"""Credentials for tests: tokens, signing keys, an issuer's server, files of API keys."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from backend.api.auth.api_keys import hash_of

ISSUER, AUDIENCE = "https://issuer.example", "lex"
SECRET = "a secret of the issuer with more than 32 bytes"
COOKIE_SECRET = "a secret of the service with more than 32 characters"


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private: Any
    algorithm: str

    @property
    def public(self) -> dict[str, Any]:
        """The public key as an entry of a JWKS."""
        family = ECAlgorithm if self.algorithm.startswith("ES") else RSAAlgorithm
        described: dict[str, Any] = family.to_jwk(self.private.public_key(), as_dict=True)
        return {**described, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @property
    def pem(self) -> bytes:
        written: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return written

    def token(self, user_id: str = "123", **changes: Any) -> str:
        headers = {"kid": self.kid}
        return jwt.encode(claims(user_id, **changes), self.private, self.algorithm, headers)


@cache
def elliptic(kid: str = "one") -> SigningKey:
    return SigningKey(kid, ec.generate_private_key(ec.SECP256R1()), "ES256")


@cache
def rivest(kid: str = "rsa", bits: int = 2048) -> SigningKey:
    return SigningKey(kid, rsa.generate_private_key(65537, bits), "RS256")


def claims(user_id: str = "123", **changes: Any) -> dict[str, Any]:
    """The claims of a token that is valid for an hour; a change to None removes a claim."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "iat": now, "exp": now + 3600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(user_id: str = "123", **changes: Any) -> str:
    """A token signed with the shared secret. PyJWT's checks of the claims are bypassed."""
    payload = json.dumps(claims(user_id, **changes)).encode()
    return jwt.PyJWS().encode(payload, SECRET, "HS256")


WITH_SECRET: dict[str, Any] = {
    "auth": "jwt",
    "jwt_issuer": ISSUER,
    "jwt_audience": AUDIENCE,
    "jwt_secret": SECRET,
    "session_cookie_secret": COOKIE_SECRET,
}


def with_keys(url: str) -> dict[str, Any]:
    return {**{k: v for k, v in WITH_SECRET.items() if k != "jwt_secret"}, "jwt_jwks_url": url}


def as_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name.upper(): str(value) for name, value in settings.items()}


def bearer(credential: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}", **more}


@dataclass
class Issuer:
    """A server that publishes an issuer's keys. Its answers can be changed while it runs."""

    url: str = ""
    keys: Sequence[dict[str, Any]] = ()
    status: int = 200
    gate: Any = None
    """An event for which answers wait."""
    requests: int = 0
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.gate is not None:
            await self.gate.wait()
        body = json.dumps({"keys": list(self.keys)}).encode() if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers=self.headers)


@asynccontextmanager
async def issuer(*keys: SigningKey, port: int = 0) -> AsyncIterator[Issuer]:
    published = Issuer(keys=[key.public for key in keys])
    app = web.Application()
    app.router.add_get("/keys", published.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        published.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        yield published
    finally:
        await runner.cleanup()


def key_file(path: Path, **users: str | None) -> Path:
    """A file of API keys. Maps each key to its user, or to None for a trusted key."""
    entries = [
        {
            "name": f"key {number}",
            "hash": hash_of(key),
            **({"user": user} if user else {"trusted": True}),
        }
        for number, (key, user) in enumerate(users.items(), start=1)
    ]
    path.write_text(json.dumps({"keys": entries}))
    return path


def with_key_file(path: Path) -> dict[str, Any]:
    return {"auth": "api_key", "api_keys_file": path, "session_cookie_secret": COOKIE_SECRET}
