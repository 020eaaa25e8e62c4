"""Law: what may not end within the limit is not started, and the report lists it."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from charlm import bench
from charlm.benchmarks import peers, sections, time_limit
from charlm.benchmarks.time_limit import TimeLimit
from tests.benchmarks.test_bench import CASE, JOBS, SETUP, lineup


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """`sections` finds its peers among the tests'."""
    monkeypatch.setattr(peers, "HERE", "tests.benchmarks")


@pytest.fixture
def clock(monkeypatch):
    """The seconds that a time limit reads; a test moves them on."""
    now = [0.0]
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_what_may_not_end_within_the_limit_is_not_begun(rng, clock):
    for _ in range(200):
        limit = TimeLimit(seconds := float(rng.uniform(1, 50)))
        began, longest = clock[0], 0.0
        for k in range(20):
            left = began + seconds - clock[0]
            assert limit.allows(str(k)) == (longest < left)
            if longest < left:
                clock[0] += (lasts := float(rng.uniform(0, 5)))
                longest = max(longest, lasts)
        allowed = 20 - len(limit.left_out)
        assert limit.left_out == [str(k) for k in range(allowed, 20)]
        assert clock[0] - began < seconds + 5  # the first may be longer than those before it


def test_without_a_limit_everything_is_measured(clock):
    limit = TimeLimit()
    clock[0] = 1e9
    assert limit.allows("this")
    assert limit.wait(7) == 7


def test_jobs_beyond_the_limit_are_left_out(tmp_path, clock):
    def say(text):
        clock[0] += 5 if text.endswith("rounds") else 0

    setup = replace(SETUP, say=say, limit=TimeLimit(8.0))
    crew = lineup(A={"name": "A", "log": str(tmp_path / "a")})
    (only,) = sections.compare("step", crew, [CASE, CASE], JOBS, setup)
    assert only["job"] == "layer"
    assert setup.limit.left_out == ["step of LSTM 1 x 4, step", "step of LSTM 1 x 4"]


def test_cases_beyond_the_limit_are_left_out_and_a_peer_is_not_waited_for(tmp_path):
    crew = lineup(A={"name": "A", "log": str(tmp_path / "a")}, slow={"make": "sleeper"})
    limit = TimeLimit(5.0)
    setup = replace(SETUP, limit=limit)
    began = time.monotonic()
    (only,) = sections.compare("step", crew, [CASE, replace(CASE, units=5)], ("step",), setup)
    assert time.monotonic() - began < 10
    assert limit.left_out == ["step of LSTM 1 x 5"]
    assert only["rows"][1]["failed"] == "no answer within the time limit"


def test_the_command_lists_what_it_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def measured(*_):
        time.sleep(0.2)

    monkeypatch.setitem(bench.MEASURE, "step", measured)
    monkeypatch.setitem(bench.MEASURE, "sampling", lambda *_: pytest.fail("measured"))
    assert bench.main(["--only", "step", "sampling", "--minutes", "0.005", "--out", "out"]) == 0
    told = "Left out for want of time: the section sampling."
    assert told in capsys.readouterr().out
    assert told in Path("out/bench.md").read_text()
    assert json.loads(Path("out/bench.json").read_text())["left_out"] == ["the section sampling"]
