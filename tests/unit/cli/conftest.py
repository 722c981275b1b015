from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zygote import Zygote
from tests.zygote import zygote as made


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with made() as parent:
        yield parent
