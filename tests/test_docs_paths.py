"""What the documents name exists: the files and folders of both packages, and the rooms with their rows."""

from __future__ import annotations

import re

import pytest

from tests.test_house import CHECKOUT, ROWS

PAGES = sorted(
    str(path.relative_to(CHECKOUT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "search_spaces/*/README.md", "experiments/**/README.md")
    for path in CHECKOUT.glob(pattern)
)
NAMED = re.compile(r"(?<![\w/.-])(?:nas|search_spaces|tests)/[\w/.]*\w")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_of_a_package_that_a_page_names_exists(page):
    named = set(NAMED.findall((CHECKOUT / page).read_text(encoding="utf-8")))
    assert sorted(path for path in named if not (CHECKOUT / path).exists()) == []


def test_the_architecture_page_shows_the_rooms_row_by_row():
    text = (CHECKOUT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text[text.index("## The rooms") : text.index("## Data flow")]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [tuple(re.findall(r"`(\w+)`", cell)) for cell in first_cells] == [row for row in ROWS if row != ("__main__",)]
