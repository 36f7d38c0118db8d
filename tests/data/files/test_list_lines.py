"""Lines of lists: their encodings, fields, and the files that they may mean."""

import pytest

from nas.data.files.list_lines import ExistingFiles, Line, listed_pairs, read_lines, spellings
from nas.data.files.pairs import FramePair
from nas.data.files.passed_over import COMMENT
from nas.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_the_same_in_every_encoding(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    path.write_bytes(end.join(["größe 1", "  ", "", " b\x0c\u2028c  ", ""]).encode(encoding))
    assert read_lines(path, form="") == [Line(f"{path}:1", "größe 1"), Line(f"{path}:4", "b\x0c\u2028c")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\xff", "utf-8"), (b"\xff\xfea", "truncated data"), ("a\nb".encode("utf-16-le"), "null bytes"), (None, "No such file")],
)
def test_what_is_no_text_is_refused(tmp_path, data, reason):
    if data is not None:
        (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.txt: unreadable \(.*{reason}.*\), expected lines FORM"):
        read_lines(tmp_path / "a.txt", form="FORM")


def test_a_line_longer_than_two_paths_is_refused_before_its_gaps_are_tried(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a.png\na.png" + b" -" * 5_000)
    with pytest.raises(DataError, match=r"a\.txt:2: got 10005 characters, expected lines FORM, of at most 10000"):
        read_lines(tmp_path / "a.txt", form="FORM")


@pytest.mark.parametrize(
    ("text", "fields", "halves"),
    [
        ("a", ["a"], []),
        ("a b", ["a", "b"], [("a", "b")]),
        ("a , b", ["a", "b"], [("a", "b"), ("a ,", "b"), ("a", ", b")]),
        ("a;b", ["a", "b"], [("a", "b")]),
        ("a 1, x b 1, x", ["a 1", "x b 1", "x"], [("a 1", "x b 1, x"), ("a 1, x b 1", "x"), ("a", "1, x b 1, x")]),
        ("a 1,\t b,2", ["a 1,", "b,2"], [("a 1,", "b,2")]),
        ('"a b","c d"', ["a b", "c d"], [("a b", "c d")]),
    ],
)
def test_a_line_has_its_fields_and_each_way_to_read_two(text, fields, halves):
    line = Line("list:1", text)
    assert line.fields == fields
    assert set(halves) <= set(line.halves())
    assert "\t" not in text or line.halves() == halves


def listed(tmp_path, text, meaning):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return listed_pairs(path, form="FORM", readings=lambda line: meaning.get(line.text, []), fault=lambda line: f"no {line.text}")


def pair(tmp_path, image, mask):
    return FramePair(image, tmp_path / image, tmp_path / mask)


def test_each_line_must_mean_one_pair(tmp_path):
    a, b = pair(tmp_path, "a", "ma"), pair(tmp_path, "b", "mb")
    found = listed(tmp_path, "# first\nb\na\n", {"a": [a, a], "b": [b]})
    assert found.pairs == [b, a]
    assert found.passed_over.examples == {COMMENT: (f"{tmp_path / 'list.txt'}:1",)}
    with pytest.raises(DataError, match="^no c$"):
        listed(tmp_path, "c", {})
    with pytest.raises(DataError, match=r"list\.txt:1: can be read as .*a with .*ma and as .*b with .*mb, expected one way; put"):
        listed(tmp_path, "a", {"a": [a, b]})
    with pytest.raises(DataError, match=r"list\.txt: lists no image, expected lines FORM"):
        listed(tmp_path, "# nothing\n", {})


def test_a_line_that_begins_with_a_hash_may_be_a_name(tmp_path):
    assert listed(tmp_path, "#1\n", {"#1": [pair(tmp_path, "#1", "m")]}).pairs[0].name == "#1"


@pytest.mark.parametrize("second", [("a", "other"), ("other", "m")], ids=["image", "mask"])
def test_an_image_or_a_mask_comes_once(tmp_path, second):
    meaning = {"a": [pair(tmp_path, "a", "m")], "b": [pair(tmp_path, *second)]}
    with pytest.raises(DataError, match=r"list\.txt:3: .*/[am] is in .*list\.txt:1 too, expected each file once"):
        listed(tmp_path, "a\n\nb\n", meaning)


def test_files_are_found_with_their_ends_in_any_case(tmp_path):
    for name in ("a.PNG", "b.png", "b.PNG", "c.Png", "c.pnG", "d_MASK.png", "e\u0301.png"):
        (tmp_path / name).write_bytes(b"")
    existing = ExistingFiles()

    def found(name, ending=None):
        path = existing.first([tmp_path / "nowhere" / name, tmp_path / name], ending)
        return path and path.name

    assert found("a.png") == "a.PNG"
    assert found("A.png") is None
    assert found("b.png") == "b.png"
    assert found("c.png") is None, "two files would be meant"
    assert found("d_mask.png") is None
    assert found("d_mask.png", "_mask.png") == "d_MASK.png"
    assert found("\u00e9.png") == "e\u0301.png"
    assert found("x" * 5000 + ".png") is None


def test_slashes_of_windows_are_turned_where_they_are_not_part_of_a_name():
    assert spellings("a/b") == ["a/b"]
    assert spellings(r"a\b") == [r"a\b", "a/b"]
