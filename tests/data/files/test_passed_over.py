"""What a data set passes over, as a value and in one line."""

import pickle

import pytest

from nas.data.files.passed_over import BROKEN_LINK, HIDDEN, OTHER_KIND, REASONS, PassedOver


def test_nothing_is_false_and_has_no_text():
    assert not PassedOver()
    assert PassedOver().text() == ""
    assert PassedOver.of({}) == PassedOver()


def test_each_reason_is_counted_and_its_first_named():
    found = {f"data/{letter}.txt": OTHER_KIND for letter in "ecdab"} | {"data/.x": HIDDEN, "data/gone.png": BROKEN_LINK}
    passed = PassedOver.of(found)
    assert passed
    assert passed.counts == {OTHER_KIND: 5, BROKEN_LINK: 1, HIDDEN: 1}
    assert passed.examples[OTHER_KIND] == ("data/a.txt", "data/b.txt", "data/c.txt")
    assert passed.text() == (
        "passed over: 5 with another ending (data/a.txt, ...), 1 broken link (data/gone.png), 1 hidden (data/.x)"
    )
    assert pickle.loads(pickle.dumps(passed)) == passed


@pytest.mark.parametrize("reason", REASONS)
def test_the_text_is_one_line_whatever_the_names_are(reason):
    text = PassedOver.of({"a\nb\x1b[2J\udcff\u2028.txt": reason}).text()
    assert text == f"passed over: 1 {reason} (a\\nb\\x1b[2J\\udcff\\u2028.txt)"
