"""YAML as nodes: what is a document, what is refused, and the bounds."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.documents import MOST_DEPTH, is_null, read_document


def flat(node: yaml.Node | None) -> object:
    """Returns a node as lists; a scalar as line, text, True if it is plain, and tag."""
    if isinstance(node, yaml.ScalarNode):
        return (node.start_mark.line + 1, node.value, node.style is None, node.tag)
    if isinstance(node, yaml.SequenceNode):
        return [flat(item) for item in node.value]
    return None if node is None else {key.value: flat(value) for key, value in node.value}


def test_nodes() -> None:
    assert flat(read_document(b"a: 1\nb:\n- 'x'\n- !!str 2\n")) == {
        "a": (1, "1", True, ""),
        "b": [(3, "x", False, ""), (4, "2", True, "tag:yaml.org,2002:str")],
    }


@pytest.mark.parametrize("text", [b"", b"# only a comment\n", b"\n\n"])
def test_no_document(text: bytes) -> None:
    assert read_document(text) is None


@pytest.mark.parametrize(
    "text", [b"a: 1\n---\n{{{ bad", b"a: 1\n---\na: 1\na: 2", b"a: 1\n---\n\tbad: [", b"a: 1\n...\n}", b"a: 1\n--- *x"]
)
def test_only_the_first_document_is_read(text: bytes) -> None:
    assert flat(read_document(text)) == {"a": (1, "1", True, "")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    assert flat(read_document("a: ä".encode(encoding))) == {"a": (1, "ä", True, "")}


@pytest.mark.parametrize(("text", "null"), [("~", True), ("null", True), ("''", False), ("nULL", False)])
def test_null(text: str, null: bool) -> None:
    root = read_document(f"[{text}, x]".encode())
    assert isinstance(root, yaml.SequenceNode)
    assert is_null(root.value[0]) is null
    assert not is_null(root)


def test_explicit_tags_decide_about_null() -> None:
    root = read_document(b"[!!null x, !!str null, ! null]")
    assert isinstance(root, yaml.SequenceNode)
    assert [is_null(item) for item in root.value] == [True, False, True]


def test_an_alias_is_the_node_itself() -> None:
    root = read_document(b"a: &x {k: v}\nb: *x\nc: &x 1\nd: *x\n")
    assert isinstance(root, yaml.MappingNode)
    (_, a), (_, b), (_, c), (_, d) = root.value
    assert b is a
    assert d is c


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"a: [1", "yaml: line 1: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\n- b", "yaml: line 2: expected <block end>, but found '-'"),
        (b"a:\n\tb: 1", "yaml: line 2: found character '\\t' that cannot start any token"),
        (b"a: b: c", "yaml: line 1: mapping values are not allowed here"),
        (b"a: 1\nb: 2\n'a': 3", 'yaml: line 3: the key "a" is already defined at line 1'),
        (b"x: [{a: 1, a: 2}]", 'yaml: line 1: the key "a" is already defined at line 1'),
        (b"<<: {}\n<<: {}", 'yaml: line 2: the key "<<" is already defined at line 1'),
        (b"a: *x", 'yaml: line 1: unknown anchor "x"'),
        (b"a: &x [*x]", 'yaml: line 1: the anchor "x" contains itself'),
        (b"a: \xff", "yaml: invalid start byte at position 3"),
        (b"a: \x00", "yaml: special characters are not allowed at position 3"),
        (b'a: "\\UFFFFFFFF"', "yaml: an escaped character or a version number is out of range"),
        (b"%YAML 1." + b"1" * 5000 + b"\n--- a", "yaml: an escaped character or a version number is out of range"),
        (b"%YAML 2.0\n--- a", "yaml: line 1: found incompatible YAML document (version 1.* is required)"),
        (b"a: 1\n%TAG ! !\nb: 2\n", "yaml: line 2: a directive inside the document"),
        (b"a: !x!y 1", "yaml: line 1: found undefined tag handle '!x!'"),
    ],
)
def test_documents_refused(text: bytes, error: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_document(text)
    assert str(caught.value) == error


def test_nesting_is_bounded() -> None:
    read_document(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH)
    for text in (b"[" * (MOST_DEPTH + 1), b"- " * 100_000, b"{a: " * 100_000, b"? " * 100_000):
        with pytest.raises(InvalidConfigurationError, match=f"^yaml: line 1: nested deeper than {MOST_DEPTH} levels$"):
            read_document(text)


@given(
    st.binary(max_size=60)
    | st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n -:[]{}&*!%|>'\"?,#\t~<")).map(str.encode)
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        read_document(text)
    except InvalidConfigurationError as error:
        message = str(error)
    else:
        return
    assert message.startswith("yaml: ")
    assert "\n" not in message
