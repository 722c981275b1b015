from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.runs import finished
from tests.zygote import Zygote


@pytest.fixture(scope="session")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run that all others must end as."""
    return finished(zygote, tmp_path_factory.mktemp("whole"))
