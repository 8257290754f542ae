"""What every store promises, one test per promise of `t4_ops.storage.base`.

A store is put to the test by subclassing `StoreContract` and giving it a `Place`: the store's URL
and a way around the store, so that what the store says is compared with what is there.
"""

from __future__ import annotations

import pytest

# These are no test modules by name, so their assertions would fail without saying what they saw.
_PARTS = ("conditions", "listing", "reading", "uploads", "writing")
pytest.register_assert_rewrite(*(f"tests.contract_{part}" for part in _PARTS))

from tests.contract_conditions import ConditionContract  # noqa: E402
from tests.contract_listing import ListingContract  # noqa: E402
from tests.contract_reading import ReadingContract  # noqa: E402
from tests.contract_tools import Place  # noqa: E402
from tests.contract_uploads import UploadContract  # noqa: E402
from tests.contract_writing import WritingContract  # noqa: E402

__all__ = ["Place", "StoreContract"]


class StoreContract(
    ReadingContract, WritingContract, ConditionContract, UploadContract, ListingContract
):
    """The promises. A subclass gives the fixture `place`."""
