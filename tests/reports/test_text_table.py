from nas.reports.text_table import text_table


def test_columns_are_as_wide_as_their_widest_cell():
    lines = text_table(["a", "number"], [["long name", "1"], ["b", "1234567"]])
    assert lines == ["a           number", "long name        1", "b          1234567"]
    assert len({len(line) for line in lines}) == 1


def test_a_table_without_rows_is_its_header():
    assert text_table(["a", "b"], []) == ["a  b"]
