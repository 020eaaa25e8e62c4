"""Writes states in the layout that LSTMVis reads.

LSTMVis (Strobelt et al. 2018, "LSTMVis: A Tool for Visual Analysis of Hidden State Dynamics in
Recurrent Neural Networks") reads a folder with `lstm.yml`, the states of every character and the
ids of the characters in HDF5 files, and a list of the characters.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from charlm.inside import recording
from charlm.reference.network import Network
from charlm.text.ids import Ids
from charlm.text.vocab import Vocab

TYPES = {"c": "state", "h": "output"}


def write(
    folder: Path, network: Network, vocab: Vocab, documents: Sequence[Ids], name: str
) -> None:
    """Writes the states h and c of every layer at every character of the texts.

    Args:
        folder: to create.
        network: the model.
        vocab: its vocabulary.
        documents: the texts as ids, n characters in all.
        name: of the project in LSTMVis.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True)
    n, H, letters = sum(map(len, documents)), network.config.units, network.states
    layers = range(network.config.layers)
    paths = {(x, k): f"{TYPES[x]}{k + 1}" for x in letters for k in layers}
    with h5py.File(folder / "states.hdf5", "w") as file:
        data = {key: file.create_dataset(path, (n, H), "f4") for key, path in paths.items()}
        for r in recording.record(network, documents, letters):
            order = np.argsort(r.positions)
            for (letter, k), target in data.items():
                target[r.positions[order]] = r.values[letter][order, k]
    with h5py.File(folder / "train.hdf5", "w") as file:
        file["word_ids"] = np.concatenate([np.asarray(d) for d in documents]).astype(np.int64)
    words = (f"{_word(c)} {k}" for k, c in enumerate(vocab.characters))
    (folder / "words.dict").write_text("\n".join(words) + "\n", encoding="utf-8")
    types = [
        f"    {{type: {TYPES[x]}, layer: {k + 1}, path: {path}"
        + (", transform: none}" if x == "h" else "}")
        for (x, k), path in paths.items()
    ]
    config = [
        f"name: {json.dumps(name, ensure_ascii=False)}",
        f"description: {json.dumps(f'{network.config.cell}, {H} units')}",
        "files:",
        "  states: states.hdf5",
        "  train: train.hdf5",
        "  words: words.dict",
        "word_sequence: {file: train, path: word_ids, dict_file: words}",
        "states:",
        "  file: states",
        "  types: [",
        ",\n".join(types),
        "  ]",
    ]
    (folder / "lstm.yml").write_text("\n".join(config) + "\n", encoding="utf-8")


def _word(character):
    """Returns a character as LSTMVis shows it, which splits its list at blanks of any kind."""
    names = {"\n": "<nl>", " ": "<blank>", "\t": "<tab>"}
    if character.isspace() or "\ud800" <= character <= "\udfff":
        return names.get(character, f"<U+{ord(character):04X}>")
    return character
