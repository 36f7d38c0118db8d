"""What tests of tables share."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.cost import (
    save_table,
)
from tests.cost.small_tables import table


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    save_table(table(8, 16), path)
    return path
