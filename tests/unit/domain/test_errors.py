"""Which errors are worth a retry."""

import pytest

from backend.domain.errors import NotStorable, ServiceError, StorageError, StoreAway
from backend.domain.events import failure


@pytest.mark.parametrize(
    ("error", "is_worth_a_retry"),
    [(StorageError(), True), (StoreAway(), True), (NotStorable(), False), (ServiceError(), False)],
)
def test_a_retry_is_only_offered_where_it_may_help(
    error: ServiceError, is_worth_a_retry: bool
) -> None:
    assert failure(error).retryable == is_worth_a_retry
