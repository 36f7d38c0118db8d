"""Values of settings, as YAML and the command line have them."""

from __future__ import annotations

from nas.files.value_text import value_text


def test_values_are_as_the_command_line_takes_them():
    assert value_text(["a", None, False, 5e-4]) == "[a,null,false,0.0005]"
    assert value_text({}) == "{}"


def test_lists_and_tuples_are_the_same_value():
    assert value_text((True, [180, 240])) == value_text([True, (180, 240)]) == "[true,[180,240]]"
