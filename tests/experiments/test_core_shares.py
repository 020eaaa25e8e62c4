"""Law: the table of cores times a share for each number of cores, on any machine."""

import re
import sys

import pytest

from charlm.experiments import core_shares


@pytest.mark.full
def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(core_shares, "REPEATS", 3)
    flags = "--cores 1 16 --batch-sizes 9 --units 512 --window 64"
    monkeypatch.setattr(sys, "argv", ["core_shares", *flags.split()])
    core_shares.main()
    rows = re.findall(r"^\| 9 \| 512 \| (\d+) \| (\d+), (\d+) \| [\d.]+ \| ([\d.]+) \| [\d.]+ \|$",
                      capsys.readouterr().out, re.M)  # fmt: skip
    (one, *whole, _), (sixteen, sequences, units, factor) = rows
    assert (one, *whole) == ("1", "9", "512")
    assert (sixteen, sequences) == ("16", "9")
    assert int(units) < 100
    assert float(factor) > 2
