"""Makes a run from weights that another program wrote."""

from pathlib import Path

from charlm.config import NO_TEXT, Config, DataConfig, ModelConfig
from charlm.interop.keras_files import KerasWeights
from charlm.interop.keras_files.choice import Choice
from charlm.interop.keras_files.measure import Measured
from charlm.interop.keras_files.readings import CODEPOINT, Reading
from charlm.presets import FIT_OF_OTHERS
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encode import fingerprint
from corpora import Corpus

NOTHING = fingerprint([])  # the fingerprint of no text


def choose_reading(
    choice: Choice,
    found: KerasWeights,
    file: Path,
    vocab: Path | None,
    order: str | None,
    allow_useless: bool,
    assumed: tuple[str, ...],
) -> Measured:
    """Reads the ids of a model as characters, in the way that the user asked for.

    Args:
        choice: all ways to read them.
        found: the content of `file`.
        file: the weights.
        vocab: a JSON file of the characters, if there is one.
        order: order of the text's characters without that file; None for code points.
        allow_useless: accept a model that is worse than a unigram model.
        assumed: what was assumed about the model, for a refusal.

    Raises:
        InputError: the characters do not fit, or the model is worse than a unigram model.
    """
    if found.vocab is not None:
        return choice.given(dict(enumerate(found.vocab.characters)), file)
    if vocab:
        order, best = None, choice.in_file(vocab)
    else:
        order = order or CODEPOINT
        best = choice.in_order(order)
    if not (best.useful or allow_useless):
        choice.refuse(best, order, assumed)
    return best


def checkpoint(
    found: KerasWeights,
    config: ModelConfig,
    network: Network,
    reading: Reading,
    corpus: Corpus | None,
    encoding: str,
) -> Checkpoint:
    """Makes a run that has the weights, but no optimizer state and no history.

    Args:
        found: the content of the weights' file.
        config: the network's settings.
        network: the network with the ids of `reading`.
        reading: what the ids stand for, with the text if there is one.
        corpus: that text, by name.
        encoding: of that text.
    """
    sha256, learned_before = _learned_from(found, reading.text)
    name = corpus.name if corpus else NO_TEXT
    return Checkpoint(
        config=Config(config, DataConfig(corpus=name, encoding=encoding), FIT_OF_OTHERS),
        vocab=reading.vocab,
        corpus_sha256=sha256,
        learned_before=learned_before,
        progress=Progress(samples_size=0),  # the samples of an overwritten run are not this run's
        weights=network.weights,
        optimizer=[],
        carried=[],
        versions=_versions(found),
    )


def _learned_from(found, text):
    """Fingerprints of the run's text, and of the texts that the weights were trained on before."""
    sha256 = text.sha256 if text else found.corpus_sha256 or NOTHING
    before = *found.learned_before, found.corpus_sha256
    return sha256, [x for x in before if x not in (sha256, NOTHING, None)]


def _versions(found):
    """The program that made the weights, and its version."""
    if found.program != "Keras":
        return {"backend": found.program.lower()}
    return {"backend": "keras", "keras": found.keras_version or "unknown"}
