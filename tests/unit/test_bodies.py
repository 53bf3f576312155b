"""What a body may hold: the reader of JSON, attacked."""

import json
import time

import pytest

from mlsys import errors
from mlsys.api.bodies import MOST_VALUES, read_json


def read(data: bytes | str, *, max_depth: int = 8) -> object:
    return read_json(data.encode() if isinstance(data, str) else data, max_depth=max_depth)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 9 + "1" + "}" * 9])
def test_read_json__nested_too_deep_is_malformed(text: str) -> None:
    with pytest.raises(errors.Malformed):
        read(text)


def test_read_json__nesting_up_to_the_limit_is_read() -> None:
    assert read("[" * 8 + "]" * 8) == [[[[[[[[]]]]]]]]
    with pytest.raises(errors.Malformed, match="deeper than 8"):
        read("[" * 10 + "]" * 10)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_read_json__numbers_that_are_none_are_named_by_their_field(number: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        read(f'{{"params": {{"rates": [0, {number}]}}}}')
    assert list(refused.value.fields) == ["params.rates.1"]


def test_read_json__twin_keys_are_named_by_their_whole_path() -> None:
    with pytest.raises(errors.Invalid) as refused:
        read('{"params": {"seed": 1, "seed": 2, "other": 3}}')
    assert refused.value.fields == {"params.seed": ["Given more than once."]}


def test_read_json__many_twin_keys_cost_no_time() -> None:
    started = time.process_time()
    with pytest.raises(errors.Invalid):
        read("{" + ",".join(f'"{number % 5000}":1' for number in range(100_000)) + "}")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"\\ud800"', '{"\\udfff": 1}', '{"a": ["\\u0000"]}'])
def test_read_json__text_that_cannot_be_stored_is_invalid(text: str) -> None:
    with pytest.raises(errors.Invalid, match="NUL or half a surrogate"):
        read(text)


def test_read_json__whole_surrogate_pairs_and_foreign_scripts_are_text() -> None:
    assert read('{"name": "\\ud83c\\udf1e 太陽 ñ"}') == {"name": "\U0001f31e 太陽 ñ"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}x",
        b"{'a': 1}",
        b'{"a": 01}',
        b'{"a": 1,}',
        b"\xff\xfe{}",
        b'"\xed\xa0\x80"',
        '{"a": 1}'.encode("utf-16"),
        b"9" * 5000,
    ],
)
def test_read_json__what_is_not_json_in_utf8_is_malformed(data: bytes) -> None:
    with pytest.raises(errors.Malformed, match="not valid JSON"):
        read(data)


def test_read_json__says_where_it_breaks() -> None:
    with pytest.raises(errors.Malformed, match="line 2, column 6"):
        read('{"a": 1,\n "b" 2}')


def test_read_json__a_byte_order_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf[1]") == [1]


def test_read_json__huge_integers_stay_exact() -> None:
    assert read("1" + "0" * 400) == 10**400


def test_read__more_values_than_any_command_has_are_malformed() -> None:
    body = json.dumps({"params": {f"p{n}": n for n in range(MOST_VALUES)}}).encode()
    with pytest.raises(errors.Malformed, match="more than 10000 values"):
        read_json(body, max_depth=32)
