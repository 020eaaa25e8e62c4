"""Law: the backend's name is the one that Keras will load, from a variable or its keras.json."""

import json

import pytest

from charlm.training import backend


@pytest.mark.parametrize(
    ("variable", "settings", "expected"),
    [
        (None, None, "tensorflow"),
        (None, {"backend": "jax"}, "jax"),
        ("", {"backend": "jax"}, "jax"),
        ("torch", {"backend": "jax"}, "torch"),
        (None, {"floatx": "float32"}, "tensorflow"),
        (None, ["jax"], "tensorflow"),
        (None, "damaged", "tensorflow"),
    ],
)
@pytest.mark.parametrize("home", ["KERAS_HOME", "HOME"])
def test_the_name_before_keras_is_loaded(variable, settings, expected, home, tmp_path, monkeypatch):
    for name in ("KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / (".keras" if home == "HOME" else "")
    monkeypatch.setenv(home, str(tmp_path))
    folder.mkdir(exist_ok=True)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if settings is not None:
        text = "{" if settings == "damaged" else json.dumps(settings)
        (folder / "keras.json").write_text(text)
    assert backend.chosen() == expected


def test_without_a_home_it_is_the_default(monkeypatch):
    for name in ("KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(backend.Path, "expanduser", no_home)
    assert backend.chosen() == "tensorflow"
