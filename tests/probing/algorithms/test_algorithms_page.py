"""Table, chart and page of algorithms that were compared."""

from nas.probing.algorithms.algorithms_page import HEADER, algorithms_chart, algorithms_csv, algorithms_page, cells
from nas.probing.algorithms.judging import Judged

FOUND = [
    Judged("hard+a:1", 80.0, (0.01, 0.02), 0.05, 0.03, 0.004, rank=0.876, gap=-0.0123),
    Judged("random", 90.0, (0.03, 0.03), 0.0, 0.0, None, ((45.0, 0.05), (90.0, 0.03))),
]


def test_numbers_are_percent_and_chance_is_not_compared_with_itself():
    rows = [dict(zip(HEADER, cells(one), strict=True)) for one in FOUND]
    assert rows[0] == {
        "algorithm": "hard+a:1",
        "runs": "2",
        "CPU s": "80",
        "regret": "1.50",
        "+-": "5.00",
        "random": "3.00",
        "ratio": "0.50",
        "p": "0.004",
        "rank": "0.88",
        "gap": "-1.23",
    }
    assert [rows[1][name] for name in ("ratio", "p", "rank", "gap")] == ["-"] * 4


def test_the_page_holds_the_table_and_the_chart():
    text = algorithms_page(FOUND, "mini <1>")
    assert "mini &lt;1&gt;" in text
    assert "<td>hard+a:1</td>" in text
    assert 'src="data:image/png' in text
    assert algorithms_chart(FOUND, "t").startswith(b"\x89PNG")


def test_the_rows_are_runs():
    assert algorithms_csv(FOUND).splitlines() == [
        "algorithm,seed,seconds,regret_percent",
        "hard+a:1,0,80.000,1.0000",
        "hard+a:1,1,80.000,2.0000",
        "random,0,90.000,3.0000",
        "random,1,90.000,3.0000",
    ]
