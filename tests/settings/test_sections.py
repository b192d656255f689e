"""Typed reading of nodes."""

import pytest

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.documents import read_document
from sentry_trio.settings.sections import Section, make_section


def read(text: str) -> Section:
    return make_section("", read_document(text.encode()))


def read_everything(text: str) -> None:
    section = read(text).section("a")
    section.text("b")
    section.texts("d")
    section.sections("e")


@pytest.mark.parametrize("text", ["", "~", "# nothing", "{}", "a: ~", "a:", "A: {}"])
def test_missing_and_null_members_are_empty(text: str) -> None:
    root = read(text)
    assert root.section("a").entries == {}
    assert root.sections("a") == ()
    assert root.texts("a") == ()
    assert root.section("a").section("b").text("c") == ""
    assert root.switch("a") is False


@pytest.mark.parametrize("word", ["24", "1.5", "yes", "true", "2020-01-01", "'24'", "!!str 24", "|-\n  24", "!x 24"])
def test_any_scalar_is_a_text(word: str) -> None:
    expected = word.replace("'", "").rpartition(" ")[2]
    assert read(f"a: {word}").text("a") == expected


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "'yes'"])
def test_true(word: str) -> None:
    assert read(f"a: {word}").switch("a") is True


@pytest.mark.parametrize("word", ["false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF", "'off'"])
def test_false(word: str) -> None:
    assert read(f"a: {word}").switch("a") is False


@pytest.mark.parametrize("word", ['"true"', "'false'", "1", "oN", "tRUE", "''", "[true]", "{}"])
def test_no_boolean(word: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=r"^a must be true or false, got .* \(line 1\)$"):
        read(f"a: {word}").switch("a")


def test_lists_leave_out_null() -> None:
    root = read("a: [x, ~, 1]\nb: [{c: 1}, ~, {c: 2}]")
    assert root.texts("a") == ("x", "1")
    assert [(item.path, item.text("c")) for item in root.sections("b")] == [("b[0]", "1"), ("b[2]", "2")]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[a]", "the document must be a mapping, got a list (line 1)"),
        ("hello", 'the document must be a mapping, got "hello" (line 1)'),
        ("a: x", 'a must be a mapping, got "x" (line 1)'),
        ("\na: " + "x" * 41, "a must be a mapping, got a text (line 2)"),
        ("a: {b: [1]}", "a.b must be a text, got a list (line 1)"),
        ("a: {b: {}}", "a.b must be a text, got a mapping (line 1)"),
        ("a: {d: x}", 'a.d must be a list, got "x" (line 1)'),
        ("a: {d: [x, y, []]}", "a.d[2] must be a text, got a list (line 1)"),
        ("a: {e: [{}, x]}", 'a.e[1] must be a mapping, got "x" (line 1)'),
        ("a: {<<: x}", 'a must be a mapping, got "x" (line 1)'),
        ("a: {<<: [{}, x]}", 'a must be a mapping, got "x" (line 1)'),
    ],
)
def test_wrong_types(text: str, error: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_everything(text)
    assert str(caught.value) == error


def test_merge_keys_yield_to_existing_keys_and_the_first_wins() -> None:
    root = read("x: &x {a: 1, b: 1, c: 1}\ny: &y {b: 2, c: 2, d: 2, <<: {d: 3, e: 3}}\nz: {c: ~, <<: [*x, *y]}\n")
    section = root.section("z")
    assert [section.text(name) for name in "abcde"] == ["1", "1", "", "2", "3"]
    assert list(section.entries) == ["c", "a", "b", "d", "e"]


def test_merges_of_merges_take_no_exponential_time() -> None:
    lines = ["a0: &a0 {x: found}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 500)]
    assert read("\n".join(lines)).section("a499").text("x") == "found"


def test_merges_and_keys_that_are_not_texts() -> None:
    root = read("<<: [{a: 1}, {b: 2}]\n? [x]\n: 1\n? {x: y}\n: 2\n'k': 3\n")
    assert list(root.entries) == ["k", "a", "b"]
    assert list(read("'<<': 1\n").entries) == ["<<"]
