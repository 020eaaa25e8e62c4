"""Starts and resumes runs: folder, lock, text, model, training."""

import contextlib
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from charlm import cli, presets
from charlm.api import run_training
from charlm.api.run_training import Reporting
from charlm.config import Config, ModelConfig
from charlm.errors import InputError, command_line, flag
from charlm.runs import checkpoint, lookup, names, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.text import units
from charlm.training import resume, warm_start
from corpora import Corpus
from corpora.suggest import suggestion


def start(
    config: Config,
    corpus: Corpus,
    reporting: Reporting,
    runs: Path,
    name: str | None,
    preset: str,
    overwrite: bool = False,
    first: tuple[Path, Checkpoint] | None = None,
    given: Collection[str] = (),
) -> Path:
    """Trains a new run.

    Args:
        config: every setting.
        corpus: the text to train on.
        runs: the folder in which the run's folder is made.
        name: of the run's folder; None for the corpus and the time.
        preset: the preset's name, which is printed.
        overwrite: whether a run of this name is replaced.
        first: the weights file to start from, and what it holds.
        given: names of the settings that the user gave; a small text changes only others.

    Returns:
        The run's folder.

    Raises:
        InputError: the folder is taken, or the settings, the text and the weights do not fit.
        See `run_training.train`.
    """
    if first:
        resume.check_same_model(config, first[1].config, first[0])
    processes = reporting.processes
    if name is None and processes.count > 1:
        raise InputError(f"expected --name for a run of {processes.count} processes, found none")
    folder = run_folder.new(runs, name, corpus.name, overwrite, processes.writes)
    config = replace(config, data=replace(config.data, corpus=corpus.name))
    if config.data.separator is None and (line := suggestion(corpus)):
        cli.note(line)
    if "records" in given and config.data.abc_fields is not None:
        cli.note(
            f"NOTE: {flag('records')} has no effect with {flag('abc_fields')}, whose records are "
            f"tunes; {flag('abc_fields')} None trains on the whole text"
        )
    config, text = _with_contexts(config, corpus, given)
    n, kept = len(text.training), [*given, *(("units", "dropout") if first else ())]
    chosen, exact = config, "tokens" in given
    text = _in_units(text, config.data, first, exact)
    tokens = first[1].config.data.tokens if first else text.vocab.setting
    config = replace(config, data=replace(config.data, tokens=tokens))
    config, adapted = presets.for_size(config, len(text.training), kept, n)
    if config.data.tokens != chosen.data.tokens:
        adapted.insert(0, f"{flag('tokens')} {config.data.tokens}")
    saved = warm_start.warm_start(first[1], text, config.data.seed) if first else None
    lines = [presets.describe(preset, chosen, own_model=first is None)]
    if first:
        lines.append(f"starting from {first[0]}: {warm_start.describe(first[1], text)}")
    if text.contexts and config.data.context:
        lines += text.contexts.describe(config.data.context)
    if adapted:
        lines.append(f"for a text of {n:,} characters: {' '.join(adapted)}")
    if n < presets.TOO_SMALL and not first:
        lines.append(
            f"hint: {n:,} characters are too few to learn a language from; if they are English, "
            "--init-from state-union starts from a model that has learned it"
        )
    prepared = run_training.prepare(config, text, reporting, saved, lines)
    with contextlib.ExitStack() as held:
        with processes.together():
            if processes.writes:
                held.enter_context(run_folder.locked(folder))
                run_folder.clear(folder, overwrite)
        # the sizes of a run that starts from weights are another run's
        run_training.train(prepared, folder, reporting, None if first else preset)
    return folder


def _with_contexts(config, corpus, given):
    """Returns the settings, and the text; without a context of the preset that it does not have."""
    field = config.data.context
    if field is None and "context_scale" in given:
        raise InputError(f"{flag('context_scale')} has no effect without --context; leave it out")
    try:
        return config, cli.text(corpus, field)
    except InputError as error:
        if field is None or "context" in given:
            raise
        text = cli.text(corpus)
        reason = str(error).split(";")[0]
    cli.note(f"NOTE: without the preset's --context {field}: {reason}")
    plain = replace(config.model, context_scale=ModelConfig.context_scale)
    return replace(config, model=plain, data=replace(config.data, context=None)), text


def _in_units(text, data, first, exact):
    """Returns a text of characters in the units of the settings, or of the run to start from.

    Units that a preset chose (not `exact`) are adapted to the text.
    """
    if first is None:
        n, tokens = len(text.training), data.tokens
        vocab = text.learned_vocab(
            tokens if exact else presets.tokens_for(tokens, n), data.separator, exact
        )
        few = not exact and len(vocab) < presets.FEWEST_TOKENS
        return text if few else text.translated(vocab)
    if data.tokens == units.CHARACTERS:  # whose vocabulary the new run may extend
        return text
    return text.translated(first[1].vocab.with_separator(data.separator))


def find(runs: Path, run: str) -> Path:
    """Finds the weights file to resume a run from.

    Raises:
        InputError: there is none, or it is not in a run's folder.
    """
    found = lookup.find(runs, run)
    path = lookup.weights_file(found, (lookup.LAST, lookup.BEST))
    if not lookup.is_run(path.parent):
        raise InputError(
            f"expected a weights file in its run's folder, found {path}, with no run around it; "
            "put it into a folder of its own as last.weights.h5 to resume it there"
        )
    names.check_places(path.parent, (lookup.LAST, lookup.BEST, run_folder.LOCK))
    return path


def copy_of_shipped(path: Path, runs: Path, config: Config, reporting: Reporting) -> Path:
    """Copies the run that comes with charlm, which stays as it is, to resume the copy.

    Args:
        path: its weights file.
        runs: folder of the copy.
        config: every setting, including the changed ones.
        reporting: prints where the copy is.

    Returns:
        The weights file of the copy.

    Raises:
        InputError: there is a copy, a setting cannot change, or nothing is left to train.
    """
    saved = read(path)
    resume.check_changes(saved.config, config, bool(saved.optimizer))
    resume.check_unfinished(saved.progress, config.fit)
    folder = run_folder.new(runs, f"{path.parent.name}-resumed", "", False)
    run_folder.save_new(folder, saved, False, reporting.say)
    reporting.say(f"resuming a copy in {folder}; the run that comes with charlm stays as it is")
    return folder / lookup.LAST


def read(path: Path) -> Checkpoint:
    """Reads the weights file that `find` found. The caller holds the folder's lock.

    Raises:
        InputError: it is damaged; the message names the best weights, if there are any.
    """
    best = path.parent / lookup.BEST
    try:
        saved = checkpoint.read(path)
        run_folder.read_rows(path.parent, saved.progress)
        return saved
    except InputError as error:
        if path.name != lookup.LAST or not os.path.isfile(best):
            raise
        again = command_line("train", "--resume", best)
        raise InputError(f"{error}; {again} resumes from the best epoch") from error


def resume_run(
    path: Path,
    saved: Checkpoint,
    config: Config,
    corpus: Callable[[], Corpus],
    reporting: Reporting,
) -> None:
    """Continues to train a run. The caller holds the folder's lock, in the process that writes.

    Args:
        path: the weights file.
        saved: its content.
        config: every setting, including the changed ones.
        corpus: finds the text; called only if there is something left to train.

    Raises:
        InputError: a setting cannot change, nothing is left to train, or it is another text.
        See `run_training.train`.
    """
    folder, kept, say = path.parent, saved.config, reporting.say
    processes = reporting.processes
    resume.check_changes(kept, config, bool(saved.optimizer))
    changed = resume.changes(kept, config, bool(saved.optimizer))
    if resume.is_over(saved.progress, config.fit) and processes.writes:
        repair(folder, saved, say)
    resume.check_unfinished(saved.progress, config.fit)
    where = resume.position(saved.progress)
    lines = [f"resuming {path} at {where}; changed: {', '.join(changed) or 'nothing'}"]
    text = cli.text(corpus(), config.data.context)
    prepared = run_training.prepare(config, text, reporting, saved, lines)
    with processes.together():
        if processes.writes:
            run_folder.rewind_logs(folder, saved, say)
            if config.data != kept.data:
                _rename_corpus(folder, config, say)
    run_training.train(prepared, folder, reporting)


def repair(folder: Path, saved: Checkpoint, say: Callable[[str], object]) -> None:
    """Writes the files of a finished run that was killed between its last save and its end."""
    run_folder.rewind_logs(folder, saved, say)
    run_training.draw_curve(saved.progress, folder, say)


def _rename_corpus(folder, config, say):
    """Stores the text's new place in the best weights, too, which other commands read."""
    try:
        best = checkpoint.read(folder / lookup.BEST)
    except InputError:  # missing or damaged; training does not need it
        return
    moved = replace(best.config.data, corpus=config.data.corpus, encoding=config.data.encoding)
    best.config = replace(best.config, data=moved)
    run_folder.try_write(folder, lookup.BEST, checkpoint.to_verified_bytes(best), say)
