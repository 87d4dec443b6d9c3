from __future__ import annotations

import pytest

from fita.cli.table import print_table


def test_columns_are_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "VALUE"), [("a" * 200, "1"), ("b", "22")], empty="nothing")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "a" * 200 + "   1"
    assert [line.index(value) for line, value in zip(lines, ("VALUE", "1", "22"), strict=True)] == [203, 203, 203]


def test_without_rows_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME",), [], empty="No outputs yet.")
    assert capsys.readouterr().out == "No outputs yet.\n"
