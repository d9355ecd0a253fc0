"""Fast reading of whole numbers is slow reading, but fast."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls import whole_numbers
from laborllm.survey.nls.whole_numbers import Layout, read_numbers


def numbers(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Of every length up to 18 digits, and many short ones."""
    sizes = 10 ** rng.choice([1, 1, 1, 2, 3, 4, 6, 9, 18], (rows, width))
    return (rng.uniform(-1, 1, (rows, width)) * (sizes - 1)).astype(np.int64)


def as_text(values: np.ndarray, separator: str, newline: str) -> bytes:
    return "".join(separator.join(map(str, row)) + newline for row in values.tolist()).encode()


def no_care(*arguments: object, **others: object) -> np.ndarray:
    raise AssertionError("read line by line")


@pytest.mark.parametrize("separator", [",", " "])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [7, 64, 1000, 1 << 17])
def test_plain_numbers_are_read_by_array_operations(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, separator: str, newline: str, block: int
) -> None:
    monkeypatch.setattr(whole_numbers, "BLOCK", block)
    monkeypatch.setattr(whole_numbers, "_careful", no_care)
    for rows, width in ((1, 1), (3, 5), (50, 4), (200, 11)):
        values = numbers(rng, rows, width)
        wanted = {int(place): f"c{place}" for place in rng.permutation(width)[: rng.integers(1, width + 1)]}
        text = as_text(values, separator, newline)
        for data in (text, text.removesuffix(newline.encode())):
            found = read_numbers(io.BytesIO(data), Layout(width, separator), wanted, Path("x"))
            assert np.array_equal(found.table.cast(pl.Int64).to_numpy(), values[:, list(wanted)])
            assert found.last_row_ends == (data is text)


def test_the_careful_reading_gives_the_same(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    values = numbers(rng, 300, 9)
    wanted = {place: f"c{place}" for place in range(9)}
    text = as_text(values, ",", "\n")
    fast = read_numbers(io.BytesIO(text), Layout(9, ","), wanted, Path("x")).table
    monkeypatch.setattr(whole_numbers, "_parse", lambda *arguments: None)
    slow = read_numbers(io.BytesIO(text), Layout(9, ","), wanted, Path("x")).table
    assert fast.equals(slow)
    assert fast.schema == slow.schema


def test_each_column_is_as_small_as_its_numbers() -> None:
    text = b"1 32767 32768 2147483647 2147483648\n-1 -32768 -32769 -2147483648 -2147483649\n"
    found = read_numbers(io.BytesIO(text), Layout(5), {place: str(place) for place in range(5)}, Path("x"))
    assert found.table.dtypes == [pl.Int16, pl.Int16, pl.Int32, pl.Int32, pl.Int64]


NO_NUMBERS = [
    "-",
    "--1",
    "1-",
    "+1",
    "1.0",
    "1e2",
    "1_0",
    "x",
    "0x1",
    "9" * 19,
    "\u0663",
    "1;",
    "'1'",
    '"1',
    "1\0",
    "\x7f",
]
SEPARATORS = {",": [*NO_NUMBERS, "", "1 2", '"1,'], " ": [*NO_NUMBERS, ",5", "5,", "1,2", "\x0c"]}


@pytest.mark.parametrize(("separator", "value"), [(s, value) for s, values in SEPARATORS.items() for value in values])
def test_what_is_no_number_is_named(separator: str, value: str) -> None:
    """In every place of a row, in a wanted column."""
    for place in range(3):
        row = ["12", "-4", "345"]
        row[place] = value
        text = f"1{separator}2{separator}3\n{separator.join(row)}\n".encode()
        with pytest.raises(LaborLLMError) as caught:
            read_numbers(io.BytesIO(text), Layout(3, separator), {0: "a", 1: "b", 2: "c"}, Path("x.csv"))
        assert str(caught.value).startswith(("x.csv, column " + "abc"[place] + ", row 2: ", "x.csv, row 2: has "))


def test_a_wrong_value_far_down_is_named_with_its_row(rng: np.random.Generator) -> None:
    lines = as_text(numbers(rng, 30_000, 3), ",", "\n").split(b"\n")
    lines[25_000] = b"1,2,male"
    with pytest.raises(LaborLLMError, match=r"^x.csv, column c, row 25001: 'male' is no whole number"):
        read_numbers(io.BytesIO(b"\n".join(lines)), Layout(3, ","), {0: "a", 2: "c"}, Path("x.csv"))


def test_a_wrong_value_in_an_unwanted_column_is_not_looked_at() -> None:
    found = read_numbers(io.BytesIO(b"1,male,3\n"), Layout(3, ","), {0: "a", 2: "c"}, Path("x.csv"))
    assert [column.to_list() for column in found.table] == [[1], [3]]


def test_fixed_columns() -> None:
    layout = Layout(3, positions=((1, 3), (4, 5), (6, 9)))
    found = read_numbers(io.BytesIO(b"  1-512  \r\n123 4   7\r\n"), layout, {0: "a", 1: "b", 2: "c"}, Path("x.dat"))
    assert [column.to_list() for column in found.table] == [[1, 123], [-5, 4], [12, 7]]
    for text, message in [
        (b"  1-512\n", "row 1: has 7 characters, but its columns end at 9"),
        (b"  1-512  7\n", "row 1: has 10 characters, but its columns end at 9"),
        (b"  1  12  \n", "column b, row 1: '' is no whole number"),
        (b"  11 12  \n", "column b, row 1"),
    ]:
        if message == "column b, row 1":
            assert read_numbers(io.BytesIO(text), layout, {1: "b"}, Path("x")).table["b"].to_list() == [1]
            continue
        with pytest.raises(LaborLLMError, match=message):
            read_numbers(io.BytesIO(text), layout, {0: "a", 1: "b", 2: "c"}, Path("x.dat"))


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_numbers, "LONGEST_LINE", 1000)
    monkeypatch.setattr(whole_numbers, "BLOCK", 100)
    with pytest.raises(LaborLLMError, match="a row is longer than 64 MB"):
        read_numbers(io.BytesIO(b"1" * 5000), Layout(1), {0: "a"}, Path("x"))
