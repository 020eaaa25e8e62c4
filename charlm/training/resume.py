"""Checks which settings change when a run is resumed; needs no backend."""

from charlm.config import DROPOUTS, Config, DataConfig, FitConfig
from charlm.errors import InputError, flag
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text import units
from charlm.text.contexts import listed
from charlm.text.encoded_text import Text

FIXED = ("model", "data")  # parts of the configuration that cannot change,
MOVABLE = ("corpus", "encoding")  # except the place of the text, whose fingerprint is compared


def check_changes(kept: Config, asked: Config, has_optimizer: bool) -> None:
    """Refuses changes of the model and of how the text is read.

    A cell's layer may be Keras's own instead of charlm's, or the other way around.

    Args:
        kept: the run's settings.
        asked: the settings to resume it with.
        has_optimizer: False for weights that no training saved; then the settings of the text may
            change, because none of it was read; but not those of the vocabulary.

    Raises:
        InputError: a setting cannot change.
    """
    of_tokens = kept.data.tokens != units.CHARACTERS
    vocabulary = ("tokens", "context", *(("records", "column", "abc_fields") if of_tokens else ()))
    for part in FIXED:
        for name, (new, old) in differences(asked, kept, part).items():
            if part == "data" and not has_optimizer and name not in vocabulary:
                continue
            same_cell = name == "cell" and asked.model.cell_name == kept.model.cell_name
            if name not in MOVABLE and not same_cell:
                raise InputError(
                    f"cannot change {flag(name)} on --resume: the run has {flag(name)} {old}, "
                    f"found {flag(name)} {new}; leave it out, or start a new run"
                )


def check_same_model(asked: Config, trained: Config, path: object) -> None:
    """Refuses a model that does not fit the weights from which a new run starts.

    Args:
        asked: the new run's settings.
        trained: the settings of the run whose weights were saved in `path`.

    Raises:
        InputError: they differ in more than dropout and the scale of contexts, or in the tokens.
    """
    for name, (new, old) in differences(asked, trained, "model").items():
        if name not in (*DROPOUTS, "context_scale"):
            raise InputError(
                f"expected {flag(name)} {old}, as {path} was trained with it, found "
                f"{flag(name)} {new}; leave it out, because --init-from sets the model"
            )
    check_same_tokens(asked.data, trained.data, path)


def check_same_tokens(asked: DataConfig, trained: DataConfig, path: object) -> None:
    """Raises InputError unless the weights in `path` are for the units that are asked for."""
    if asked.tokens != trained.tokens:
        raise InputError(
            f"expected --tokens {trained.tokens}, as {path} was trained with it, found --tokens "
            f"{asked.tokens}; leave it out"
        )


def changes(kept: Config, asked: Config, has_optimizer: bool) -> list[str]:
    """Lists what changes, for the line that a resumed run prints. Args: see `check_changes`."""
    found = [
        f"{name} {old} -> {new}"
        for part in ("fit", "sample", "data", "model")
        for name, (new, old) in differences(asked, kept, part).items()
    ]
    if not has_optimizer:
        found.append("optimizer state reset (the weights came without one)")
    if asked.fit.decay_epochs is None and asked.fit.epochs != kept.fit.epochs:
        found.append(f"the learning rate now decays over {asked.fit.epochs} epochs")
    return found


def is_over(progress: Progress, fit: FitConfig) -> bool:
    """Whether a run has done its epochs or stopped early."""
    return progress.epoch >= fit.epochs or 0 < fit.patience <= progress.stale_epochs


def check_unfinished(progress: Progress, fit: FitConfig) -> None:
    """Refuses a run that has nothing left to train.

    Raises:
        InputError: it has done its epochs, or stopped early.
    """
    if progress.epoch >= fit.epochs:
        raise InputError(
            f"expected epochs left to train, found {progress.epoch} of {fit.epochs} done; give "
            f"--epochs, for example --epochs {progress.epoch + 4}"
        )
    if is_over(progress, fit):
        raise InputError(
            f"this run already stopped early, {fit.patience} epochs after its best; give a larger "
            "--patience, or --patience 0"
        )


def position(progress: Progress) -> str:
    """Returns the epoch and the window, counted from 1, at which a run continues."""
    where = f"epoch {progress.epoch + 1}"
    return f"{where}, window {progress.step + 1}" if progress.step else where


def check_same_text(saved: Checkpoint, text: Text) -> None:
    """Raises InputError unless the text is the one that the run was trained on."""
    if saved.corpus_sha256 != text.sha256:
        raise InputError(
            f"expected the text the run was trained on (sha256 {saved.corpus_sha256[:12]}),"
            f" found another ({text.sha256[:12]}); name the run's text with --corpus, or "
            "train a new run on another text (--init-from)"
        )
    check_same_contexts(saved, text)


def check_same_contexts(saved: Checkpoint, text: Text) -> None:
    """Raises InputError unless each part of the text has the context that it had in training."""
    if saved.contexts == text.known_contexts:
        return
    before, now = (set(x.names) if x else set() for x in (saved.contexts, text.known_contexts))
    changes = [f"{what} {listed(sorted(names))}" for what, names in
               (("new", now - before), ("missing", before - now)) if names]  # fmt: skip
    raise InputError(
        f"expected every text to have the value of {saved.config.data.context!r} that it had in "
        f"training, found others ({', '.join(changes) or 'the same values in other places'}); put "
        "files and columns back as they were, or train a new run"
    )


def differences(a: Config, b: Config, part: str) -> dict[str, tuple]:
    """Returns {setting: (a's value, b's value)} for the settings of a part that differ."""
    mine, theirs = vars(getattr(a, part)), vars(getattr(b, part))
    return {name: (x, theirs[name]) for name, x in mine.items() if x != theirs[name]}
