"""The keys of an issuer over a real socket: known, new, withdrawn, unreachable."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from backend.api.auth import jwks
from backend.api.auth.jwks import Jwks
from backend.domain.errors import IdentityUnavailable, NotAuthenticated
from tests.credentials import Issuer, SigningKey, elliptic, issuer, rivest
from tests.fakes import Clock
from tests.processes import NO_TLS

ONE, TWO = elliptic("one"), elliptic("two")
ALGORITHMS = ("ES256", "RS256", "PS256")


@asynccontextmanager
async def keys_of(published: Issuer, clock: Clock | None = None) -> AsyncIterator[Jwks]:
    async with httpx.AsyncClient(timeout=5, verify=NO_TLS) as client:
        keys = Jwks(published.url, client, algorithms=ALGORITHMS, clock=clock or Clock())
        await keys.refresh()
        yield keys
        await keys.close()


async def knows(keys: Jwks, key: SigningKey) -> bool:
    try:
        found = await keys.find(key.kid, key.algorithm)
    except NotAuthenticated:
        return False
    return found.key_id == key.kid


async def test_known_keys_are_not_asked_for_again() -> None:
    async with issuer(ONE, rivest()) as published, keys_of(published) as keys:
        for _ in range(100):
            assert await knows(keys, ONE)
            assert await knows(keys, rivest())

        assert published.requests == 1


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    clock = Clock()
    async with issuer(ONE) as published, keys_of(published, clock) as keys:
        published.keys = [ONE.public, TWO.public]
        clock.sleep(jwks.PAUSE_SECONDS)

        assert await knows(keys, TWO)
        assert published.requests == 2


async def test_made_up_keys_do_not_make_us_ask_more_often() -> None:
    clock = Clock()
    async with issuer(ONE) as published, keys_of(published, clock) as keys:
        for number in range(100):
            assert not await knows(keys, SigningKey(f"made-up-{number}", None, "ES256"))
        soon = published.requests
        clock.sleep(jwks.PAUSE_SECONDS)
        for number in range(100):
            assert not await knows(keys, SigningKey(f"made-up-{number}", None, "ES256"))

        assert (soon, published.requests) == (1, 2)


async def test_a_thousand_who_wait_share_one_request() -> None:
    clock = Clock()
    async with issuer(ONE) as published, keys_of(published, clock) as keys:
        published.gate = asyncio.Event()
        published.keys = [TWO.public]
        clock.sleep(jwks.PAUSE_SECONDS)
        waiting = [asyncio.create_task(knows(keys, TWO)) for _ in range(1000)]
        while published.requests < 2:
            await asyncio.sleep(0.01)

        waiting[0].cancel()
        meanwhile = await knows(keys, ONE)
        published.gate.set()
        found = await asyncio.gather(*waiting[1:])

        assert meanwhile
        assert all(found)
        assert published.requests == 2


async def test_a_key_that_was_withdrawn_is_unknown_after_the_next_refresh() -> None:
    async with issuer(ONE, TWO) as published, keys_of(published) as keys:
        published.keys = [TWO.public]

        before = await knows(keys, ONE)
        await keys.refresh()

        assert before
        assert not await knows(keys, ONE)


BROKEN = {
    "not JSON": b"<html>",
    "no set": b"[]",
    "no keys": b"{}",
    "none usable": b'{"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "RSA"}, 5, null]}',
    "empty": b'{"keys": []}',
    "deep": b"[" * 100_000,
    "not text": b"\xff\xfe\xfd",
    "large": b" " * (jwks.MAX_BYTES + 1),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_none_leaves_the_keys_there_were(body: bytes) -> None:
    async with issuer(ONE) as published, keys_of(published) as keys:
        published.body = body

        with capture_logs() as lines:
            await keys.refresh()

        assert [line["event"] for line in lines] == ["jwks_not_fetched"]
        assert await knows(keys, ONE)


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_status_that_is_not_200_leaves_the_keys_there_were(status: int) -> None:
    async with issuer(ONE) as published, keys_of(published) as keys:
        published.status = status
        published.keys = [TWO.public]
        published.headers = {"Location": published.url}

        await keys.refresh()

        assert await knows(keys, ONE)
        assert published.requests == 2


async def test_while_the_address_is_down_known_keys_stay_and_unknown_ones_may_be_new() -> None:
    clock = Clock()
    async with issuer(ONE) as published, keys_of(published, clock) as keys:
        published.status = 503
        clock.sleep(jwks.PAUSE_SECONDS)

        assert await knows(keys, ONE)
        for _ in range(10):
            with pytest.raises(IdentityUnavailable):
                await keys.find("two", "ES256")
        assert published.requests == 2

        published.status = 200
        published.keys = [TWO.public]
        clock.sleep(jwks.PAUSE_SECONDS)
        assert await knows(keys, TWO)
        assert not await knows(keys, ONE)


async def test_nobody_listening_is_no_answer() -> None:
    async with issuer(ONE) as published:
        pass
    async with keys_of(published) as keys:
        with pytest.raises(IdentityUnavailable):
            await keys.find("one", "ES256")


async def test_keys_that_are_not_for_these_signatures_are_left_out() -> None:
    async with issuer() as published:
        encrypting = {**rivest("enc").public, "use": "enc"}
        other = {**rivest("other").public, "alg": "RS512"}
        secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"}
        odd = {**ONE.public, "kid": ["one"]}
        published.keys = [encrypting, other, secret, odd, TWO.public]
        async with keys_of(published) as keys:
            for kid, algorithm in (
                ("enc", "RS256"),
                ("other", "RS256"),
                ("other", "RS512"),
                ("secret", "HS256"),
                ("one", "ES256"),
                (None, "ES256"),
                ("two", "RS256"),
            ):
                with pytest.raises(NotAuthenticated):
                    await keys.find(kid, algorithm)
            assert await knows(keys, TWO)


async def test_a_key_that_does_not_say_its_algorithm_serves_for_all_that_fit_it() -> None:
    async with issuer() as published:
        silent = {name: value for name, value in rivest().public.items() if name != "alg"}
        nameless = {name: value for name, value in ONE.public.items() if name != "kid"}
        published.body = json.dumps({"keys": [silent, nameless]}).encode()
        async with keys_of(published) as keys:
            assert (await keys.find("rsa", "PS256")).algorithm_name == "PS256"
            assert (await keys.find("rsa", "RS256")).algorithm_name == "RS256"
            assert (await keys.find(None, "ES256")).algorithm_name == "ES256"
