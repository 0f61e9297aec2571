"""The prices of models, from `prices.toml` or from the file that `PRICES_FILE` names."""

import tomllib
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.domain.errors import UnusableSetting
from backend.domain.usage import PICO, Usage

_MILLION = 1_000_000

UsdPerMillion = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=12, decimal_places=6)]


class UnusablePrices(UnusableSetting):
    setting = "PRICES_FILE"


class _Price(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    input: UsdPerMillion
    output: UsdPerMillion
    cached_input: UsdPerMillion | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    date: date
    models: dict[str, _Price]


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of one token, in units of `1 / PICO` USD."""

    input: int
    cached_input: int
    output: int

    def of(self, usage: Usage) -> int:
        uncached = usage.input_tokens - usage.cached_input_tokens
        return (
            uncached * self.input
            + usage.cached_input_tokens * self.cached_input
            + usage.output_tokens * self.output
        )


@dataclass(frozen=True, slots=True)
class Prices:
    by_model: dict[str, Price] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load the prices that come with Lex, or those of a file. Raises: UnusablePrices."""
        path = path or Path(__file__).with_name("prices.toml")
        try:
            text = path.read_text(encoding="utf-8")
            file = _File.model_validate(tomllib.loads(text, parse_float=Decimal))
        except OSError as error:
            raise UnusablePrices(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UnusablePrices(f"{path}: {place}: {first['msg']}") from error
        except ValueError as error:  # neither TOML nor UTF-8
            raise UnusablePrices(f"{path}: {error}") from error
        return cls({name: _price(price) for name, price in file.models.items()})

    def highest(self, usage: Usage) -> int:
        """Return the highest cost of any model, for budgets that must not miss an unpriced one."""
        return max((price.of(usage) for price in self.by_model.values()), default=0)

    def cost(self, model: str, usage: Usage) -> int | None:
        """Return the cost of a call in units of `1 / PICO` USD; None if the model has no price."""
        price = self.by_model.get(model)
        return None if price is None else price.of(usage)


def _price(price: _Price) -> Price:
    cached_input = price.input if price.cached_input is None else price.cached_input
    return Price(_of_token(price.input), _of_token(cached_input), _of_token(price.output))


def _of_token(per_million: Decimal) -> int:
    return int(per_million * PICO / _MILLION)
