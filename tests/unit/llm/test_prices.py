"""The price file, and what a call costs by it."""

from pathlib import Path

import pytest

from backend.domain.usage import PICO, Usage
from backend.llm.prices import Prices, UnusablePrices

MODEL = "openai/gpt-oss-120b"


def test_the_price_of_a_call_is_exact() -> None:
    usage = Usage(1_000_000, 2_000_000, cached_input_tokens=400_000, reasoning_tokens=500_000)

    cost = Prices.load().cost(MODEL, usage)

    # 0.6 million at 0.15 USD, 0.4 at 0.075, and 2 at 0.60: reasoning is output, and not paid twice.
    assert cost == (90_000 + 30_000 + 1_200_000) * PICO // 1_000_000


def test_a_model_without_a_price_for_cached_input_pays_the_full_price() -> None:
    prices = Prices.load()
    name = "openai/gpt-oss-safeguard-20b"

    assert prices.cost(name, Usage(1000, 0, cached_input_tokens=1000)) == prices.cost(
        name, Usage(1000, 0)
    )


def test_a_model_without_a_price_is_unpriced_and_not_free() -> None:
    assert Prices.load().cost("another/model", Usage(1000, 1000)) is None


def test_a_file_replaces_all_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'source = "our contract"\ndate = 2026-11-27\n[models.own]\ninput = 1\noutput = 2.000001\n'
    )

    prices = Prices.load(file)

    assert prices.cost("own", Usage(1, 1)) == 3_000_001
    assert prices.cost(MODEL, Usage(1, 1)) is None


HEAD = 'source = "s"\ndate = 2026-11-27\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("models = [", "Invalid"),
        (b"\xff", "utf-8"),
        ("", "source: Field required"),
        (HEAD + "[models.m]\ninput = 1\n", "models.m.output: Field required"),
        (HEAD + "[models.m]\ninput = -1\noutput = 1\n", "models.m.input: "),
        (HEAD + "[models.m]\ninput = nan\noutput = 1\n", "models.m.input: "),
        (HEAD + "[models.m]\ninput = 1\noutput = 1\ncahced = 1\n", "models.m.cahced: Extra inputs"),
    ],
)
def test_an_unusable_file_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes | None, reason: str
) -> None:
    file = tmp_path / "prices.toml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(UnusablePrices) as refused:
        Prices.load(file)

    assert str(refused.value).startswith(f"{file}: ")
    assert reason in str(refused.value)
