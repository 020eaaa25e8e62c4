"""Law: Numba reads code only from files that nobody else can have written; without, it compiles."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from charlm import paths
from charlm.kernels import disk, jit
from tests.test_paths import STRANGER, as_root

_opened = []


def _listen(event, args, ends=(".nbi", ".nbc")):
    if event == "open" and str(args[0]).endswith(ends):
        _opened.append(Path(args[0]))


sys.addaudithook(_listen)  # there is no way to take it off


class Planted:
    """A pickle that leaves a mark where it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(folder, capfd):
    """Compiles a function, or finds it on disk, as a new process would.

    Returns:
        How often code was found, which of Numba's files were opened, and what was said.
    """

    def call():
        def f(x):
            return 3 * x + 1

        _opened.clear()
        paths._said.clear()
        made = jit.cached_jit(f, "tests")
        assert made(4) == 13
        return sum(made.stats.cache_hits.values()), [*_opened], capfd.readouterr().err

    return call


@pytest.fixture
def kept(folder, run):
    """Numba's two files: the index and the code."""
    run()
    index, code = (*folder.rglob("*.nbi"), *folder.rglob("*.nbc"))
    return index, code


NOT_OURS = [  # what makes a file or folder one that is not used, beside its mode
    pytest.param(lambda path: os.chown(path, STRANGER, -1), marks=as_root),
    lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))),
]


def changes(folder):
    """When each thing in it was last changed."""
    return {path: path.lstat().st_ctime_ns for path in folder.rglob("*")}


def plant(path, mark):
    """In the place of one of Numba's files, of the same owner and mode."""
    path.write_bytes(pickle.dumps(Planted(mark)))


@pytest.mark.parametrize("which", [0, 1], ids=["index", "code"])
def test_what_is_planted_would_be_run(run, kept, tmp_path, which):
    """Or the tests below would show nothing."""
    plant(kept[which], tmp_path / "mark")
    run()
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o777),
        lambda path: path.chmod(0o770),
        *NOT_OURS,
    ],
    ids=["others", "group", "stranger", "link"],
)
def test_nothing_is_read_from_a_folder_that_others_can_write(
    folder, run, kept, tmp_path, depth, change
):
    index, code = kept
    plant(index, tmp_path / "mark")
    plant(code, tmp_path / "mark")
    place = (folder, *reversed(code.parents[:3]))[depth]
    assert place.is_relative_to(folder)
    change(place)
    if depth == 0 and place.is_symlink():
        place.parent.chmod(0o777)  # a link to the cache folder is the user's, if it is safe
    before = changes(folder)
    hits, opened, said = run()
    assert (hits, opened) == (0, [])
    assert not (tmp_path / "mark").exists()
    assert said.startswith(f"NOTE: the cache folder {folder} is not used, and compiled code")
    assert said.count("\n") == 1
    assert changes(folder) == before


@pytest.mark.parametrize("which", [0, 1], ids=["index", "code"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o602),
        lambda path: path.chmod(0o660),
        *NOT_OURS,
    ],
    ids=["others", "group", "stranger", "link"],
)
def test_no_file_that_others_can_have_written_is_read(run, kept, tmp_path, which, change):
    path = kept[which]
    content = path.read_bytes()
    plant(path, tmp_path / "mark")
    change(path)
    hits, _, said = run()
    assert hits == 0
    assert not (tmp_path / "mark").exists()
    assert said.startswith(f"NOTE: {path} is not used (")
    assert said.count("\n") == 1
    assert path.lstat().st_mode & 0o177777 == 0o100600  # replaced
    assert run()[::2] == (1, "")
    assert len(path.read_bytes()) == pytest.approx(len(content), abs=100)


@pytest.mark.parametrize("which", [0, 1], ids=["index", "code"])
@pytest.mark.parametrize("keep", [0, 9, -1])
def test_a_file_cut_short_counts_as_none(run, kept, which, keep):
    path = kept[which]
    path.write_bytes(path.read_bytes()[:keep])
    assert run()[::2] == (0, "")
    assert run()[::2] == (1, "")


@pytest.mark.parametrize("umask", [0, 0o002])
def test_all_that_is_made_is_for_us_alone(folder, run, umask):
    before = os.umask(umask)
    try:
        run()
    finally:
        os.umask(before)
    assert {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()} == {0o600}
    folders = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
    assert {p.stat().st_mode & 0o777 for p in folders} == {0o700}
    assert run()[0] == 1


@pytest.mark.parametrize("usable", [True, False])
def test_numbas_own_settings_lead_to_no_other_folder(folder, run, tmp_path, monkeypatch, usable):
    other = tmp_path / "other"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(other))
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "InTreeCacheLocator")
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.setenv("XDG_CACHE_HOME", str(other))
    folder.mkdir(0o700)
    folder.chmod(0o700 if usable else 0o777)
    _, opened, _ = run()
    assert bool(opened) == usable
    assert all(path.is_relative_to(folder) for path in opened)
    assert not other.exists()
    after = numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES
    assert after == (str(other), "InTreeCacheLocator")


def test_where_numba_cannot_write_it_looks_nowhere_else(folder, run, monkeypatch):
    def fails(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", fails)
    assert run() == (0, [], "")


def test_a_disk_that_fills_ends_nothing(folder, run, monkeypatch):
    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    assert run()[0] == 0
    assert not [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(paths.LOCK)]


@pytest.mark.full
def test_two_processes_that_save_at_once_keep_each_its_code(folder):
    """Numba's own way may give both the same name of a file: the last index, the first's code."""
    program = """if True:
        import sys
        from charlm import paths
        from charlm.kernels import disk
        files = disk._Files(str(paths.cache()), "f", "stamp")
        for k in range(150):
            key = f"{sys.argv[1]}-{k}"
            files.save(key, key)
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = [
        subprocess.Popen([sys.executable, "-c", program, name], env=env) for name in ("a", "b", "c")
    ]
    assert [process.wait(60) for process in run] == [0, 0, 0]
    files = disk._Files(str(paths.cache()), "f", "stamp")
    for name in ("a", "b", "c"):
        for k in range(150):
            assert files.load(f"{name}-{k}") == f"{name}-{k}"


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_without_a_folder_one_line_says_so(folder, run, make):
    make(folder)
    hits, opened, said = run()
    assert (hits, opened) == (0, [])
    assert said.startswith("NOTE: compiled code is not kept")
    assert said.count("\n") == 1
