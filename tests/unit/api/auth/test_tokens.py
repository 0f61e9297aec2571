"""Which tokens are accepted, and which are refused."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.auth.identity import Identity
from backend.api.auth.tokens import SharedSecret, SigningKeys, Tokens
from backend.domain.errors import NotAuthenticated
from tests.credentials import AUDIENCE, ISSUER, SECRET, SigningKey, claims, elliptic, rivest, token
from tests.waiting import waiting


@dataclass
class Published:
    """`SigningKeys` that return the same key for every request."""

    key: SigningKey

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        assert (kid, algorithm) == (self.key.kid, self.key.algorithm)
        return jwt.PyJWK(self.key.public)


def tokens(keys: SigningKeys | None = None, *algorithms: str, leeway_seconds: float = 30) -> Tokens:
    return Tokens(
        keys or SharedSecret(SECRET),
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=algorithms or ("HS256",),
        leeway_seconds=leeway_seconds,
    )


async def is_refused(credential: str, by: Tokens | None = None) -> bool:
    try:
        await (by or tokens()).identify(credential)
    except NotAuthenticated:
        return True
    return False


async def test_a_good_token_names_its_user_until_it_expires() -> None:
    expires_at = int(time.time()) + 60

    identity = await tokens().identify(token("auth0|5f", exp=expires_at))

    assert identity == Identity(user_id="auth0|5f", expires_at=expires_at)


@pytest.mark.parametrize("key", [elliptic(), rivest()], ids=["ES256", "RS256"])
async def test_a_token_of_an_issuer_with_public_keys_is_taken(key: SigningKey) -> None:
    known = tokens(Published(key), key.algorithm)

    assert (await known.identify(key.token("123"))).user_id == "123"


async def test_one_of_several_audiences_is_enough() -> None:
    assert not await is_refused(token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"sub": None},
        {"iss": None},
        {"aud": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 10**400},
        {"aud": "other"},
        {"aud": []},
        {"aud": {"lex": 1}},
        {"aud": "lexx"},
        {"iss": "https://issuer.example.evil"},
        {"iss": [ISSUER]},
        {"sub": ""},
        {"sub": 123},
        {"sub": "a b"},
        {"sub": "a\nb"},
        {"sub": "\x00"},
        {"sub": "é"},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    assert await is_refused(token(**changes))
    assert not await is_refused(token())


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -31), ("nbf", 31), ("iat", 31)])
async def test_a_token_out_of_its_time_is_refused(claim: str, seconds: int) -> None:
    async with waiting():
        while True:
            begun = int(time.time())
            refused = await is_refused(token("123", **{claim: begun + seconds}))
            if int(time.time()) == begun:  # otherwise the token may have become valid meanwhile
                break

    assert refused


async def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())

    assert not await is_refused(token(exp=now - 20, nbf=now + 20, iat=now + 20))
    assert await is_refused(token(exp=now - 20), tokens(leeway_seconds=5))


def unsigned(header: dict[str, Any], signature: str = "") -> str:
    parts = (json.dumps(part).encode() for part in (header, claims()))
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, signature])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["HS256"], "HS256"])
async def test_a_token_without_a_signature_is_refused(algorithm: Any) -> None:
    for known in (tokens(), tokens(Published(elliptic()), "ES256")):
        assert await is_refused(unsigned({"alg": algorithm, "typ": "JWT"}), known)
        assert await is_refused(unsigned({"typ": "JWT"}), known)


async def test_a_public_key_is_no_secret() -> None:
    """A verifier that trusted the token's algorithm would check HS256 with the published key."""
    key = rivest()
    known = tokens(Published(key), "RS256", "ES256")

    for secret in (key.pem, json.dumps(key.public).encode(), b""):
        header = {"alg": "HS256", "kid": key.kid}
        forged = unsigned(header).rstrip(".")
        signature = jwt.get_algorithm_by_name("HS256").sign(forged.encode(), secret or b"x")
        encoded = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        assert await is_refused(f"{forged}.{encoded}", known)


async def test_another_algorithm_than_those_that_were_fixed_is_refused() -> None:
    longer = "x" * 64
    signed = jwt.encode(claims(), longer, "HS512")

    assert await is_refused(signed, tokens(SharedSecret(longer), "HS256"))
    assert not await is_refused(signed, tokens(SharedSecret(longer), "HS512"))


async def test_a_token_signed_by_somebody_else_is_refused() -> None:
    other = SigningKey("one", elliptic("two").private, "ES256")

    assert await is_refused(jwt.encode(claims(), SECRET + "x", "HS256"))
    assert await is_refused(other.token(), tokens(Published(elliptic("one")), "ES256"))


async def test_a_token_that_was_changed_is_refused() -> None:
    header, _, signature = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims("somebody-else")).encode()).rstrip(b"=")

    assert await is_refused(f"{header}.{body.decode()}.{signature}")


async def test_a_key_that_is_too_short_is_refused() -> None:
    weak = rivest("weak", 1024)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        signed = weak.token()

    assert await is_refused(signed, tokens(Published(weak), "RS256"))


async def test_a_token_that_asks_for_what_nobody_knows_is_refused() -> None:
    signed = jwt.encode(claims(), SECRET, "HS256", headers={"crit": ["new"], "new": 1})

    assert await is_refused(signed)


@given(st.one_of(st.text(), st.text(alphabet='eyJ.{}[]"_-=', max_size=200)))
async def test_whatever_is_no_token_is_refused(text: str) -> None:
    assert await is_refused(text)


@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["alg", "kid", "b64"]), inner)
        ),
    )
)
async def test_whatever_a_header_says_an_unsigned_token_is_refused(header: Any) -> None:
    assert await is_refused(unsigned(header))
    if isinstance(header, dict):
        assert await is_refused(unsigned({**header, "alg": "HS256"}, "AAAA"))
