"""The table of the genotypes that ship."""

from __future__ import annotations

from pathlib import Path

from nas.files.shipped import published_genotypes
from nas.reports.published_list import published_list
from nas.reports.text_table import text_table

PLAIN = "deploy:\n  input: [96, 128]\n  num_classes: 11\nprovenance: {}\n"
FULL = """\
deploy:
  input: [1024, 2048]
  num_classes: 19
provenance:
  title: Two Words
  year: 2019
  published:
    cityscapes_val: 79
    camvid_test: 68.25
"""


def test_a_row_has_what_the_file_states_and_a_dash_for_the_rest(tmp_path: Path):
    for name, text in (("plain", PLAIN), ("full", FULL)):
        (tmp_path / f"{name}.yaml").write_text(text)
    lines = published_list({f"some/{name}": tmp_path / f"{name}.yaml" for name in ("full", "plain")})
    assert lines == [
        "genotype    network    year      input  classes   val  test  CamVid",
        "some/full   Two Words  2019  1024x2048       19  79.0     -    68.2",
        "some/plain  -             -     96x128       11     -     -       -",
        "val, test: published mIoU in percent on Cityscapes; CamVid: on its test images",
        "nas show genotype=NAME: parameters, MACs, published speed, sources; nas bench 'networks=[NAME,NAME]': ms here",
        f"files in {tmp_path}",
    ]
    assert published_list({}) == ["no published genotypes yet"]


def test_every_genotype_that_ships_has_its_row_with_a_title_and_a_year():
    files = published_genotypes()
    lines = published_list(files)
    rows = lines[1 : len(files) + 1]
    assert [row.split()[0] for row in rows] == list(files)
    names = {row[: row.index(" 20")].split(maxsplit=1)[1].strip() for row in rows}
    assert len(names) == len(files)
    assert max(map(len, lines[:-4])) <= 132


def test_columns_stand_to_the_left_up_to_a_number():
    assert text_table(["a", "b", "c"], [["xx", "yy", "zz"]], left=2) == ["a   b    c", "xx  yy  zz"]
