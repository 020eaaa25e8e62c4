"""Suggests what a user may have meant: by names in other programs, and by similar spelling."""

import difflib
from collections.abc import Iterable, Sequence

CUTOFF = 0.7  # of difflib's similarity, from 0 to 1
# names in char-rnn, nanoGPT, minGPT, torch-rnn, Keras, transformers and textgenrnn: ours, the
# first that the command has
ELSEWHERE = {
    "lr": ("learning-rate",), "eta": ("learning-rate",), "step-size": ("learning-rate",),
    "bs": ("batch-size",), "batch": ("batch-size",), "minibatch-size": ("batch-size",),
    "hidden-size": ("units",), "hidden": ("units",), "hidden-dim": ("units",), "nhid": ("units",),
    "rnn-size": ("units",), "n-units": ("units",), "num-units": ("units",), "width": ("units",),
    "n-embd": ("units",), "d-model": ("units",), "size": ("units",),
    "num-layers": ("layers",), "n-layers": ("layers",), "n-layer": ("layers",),
    "nlayers": ("layers",), "depth": ("layers",),
    "num-epochs": ("epochs",), "n-epochs": ("epochs",), "max-epochs": ("epochs",), "e": ("epochs",),
    "seq-length": ("window",), "seq-len": ("window",),
    "sequence-length": ("window",), "block-size": ("window",),
    "bptt": ("window",), "max-seq-len": ("window",), "context-length": ("window",),
    "max-length": ("length", "sample-length"), "max-len": ("length", "sample-length"),
    "max-new-tokens": ("length", "sample-length"), "max-tokens": ("length", "sample-length"),
    "num-chars": ("length",), "n-chars": ("length",), "n-predict": ("length",), "l": ("length",),
    "temp": ("temperature", "sample-temperatures"), "t": ("temperature",),
    "temperature": ("sample-temperatures",), "prompt": ("sample-prompts",),
    "length": ("sample-length",), "num-samples": ("n",), "num-return-sequences": ("n",),
    "count": ("n",), "number": ("n",), "prime": ("prompt",), "primetext": ("prompt",),
    "start": ("prompt",), "start-text": ("prompt",), "prefix": ("prompt",), "p": ("prompt",),
    "topk": ("top-k",), "k": ("top-k",), "topp": ("top-p",), "nucleus": ("top-p",),
    "beams": ("beam",), "num-beams": ("beam",), "beam-size": ("beam",), "beam-width": ("beam",),
    "repeat-penalty": ("repetition-penalty",), "stop-sequence": ("stop",), "eos": ("stop",),
    "random-seed": ("seed",), "random-state": ("seed",), "manual-seed": ("seed",), "s": ("seed",),
    "data": ("corpus",), "dataset": ("corpus",), "data-dir": ("corpus",), "input": ("corpus",),
    "input-file": ("corpus",), "train-file": ("corpus",), "text": ("corpus",), "file": ("corpus",),
    "model": ("run", "cell"), "rnn-type": ("cell",), "arch": ("cell",), "type": ("cell",),
    "checkpoint": ("run", "resume", "init"), "ckpt": ("run", "resume", "init"),
    "load": ("resume", "init"), "restore": ("resume",), "continue": ("resume",),
    "pretrained": ("init-from", "init"), "finetune": ("init-from",), "fine-tune": ("init-from",),
    "init": ("init-from",), "init-from": ("init",), "resume": ("init",),
    "clip": ("clip-norm", "clip-value"), "grad-clip": ("clip-norm", "clip-value"),
    "max-grad-norm": ("clip-norm",), "gradient-clip": ("clip-norm", "clip-value"),
    "drop": ("dropout",), "dropout-rate": ("dropout",), "recurrent-dropout": ("weight-drop",),
    "early-stopping": ("patience",), "warmup": ("warmup-steps",), "warmup-iters": ("warmup-steps",),
    "lr-decay": ("final-rate", "decay"), "min-lr": ("final-rate",), "fp16": ("precision",),
    "bf16": ("precision",), "amp": ("precision",), "dtype": ("precision",),
    "mixed-precision": ("precision",), "save-every-n": ("save-every",),
    "checkpoint-every": ("save-every",), "run-name": ("name",), "experiment": ("name",),
    "force": ("overwrite",), "f": ("overwrite",), "save-dir": ("runs-dir",),
    "checkpoint-dir": ("runs-dir",), "models-dir": ("runs-dir",), "logdir": ("tensorboard",),
    "out-dir": ("output", "out", "runs-dir"), "output-dir": ("output", "out", "runs-dir"),
    "outdir": ("output", "out", "runs-dir"), "out": ("output",), "output": ("out", "text-file"),
    "o": ("output", "out"), "verbose": ("debug",), "traceback": ("debug",),
}  # fmt: skip
INSTEAD = {  # names for which no command has an option
    "optimizer": "the optimizer is always Adam, and --learning-rate sets its rate",
    "backend": "the environment variable KERAS_BACKEND chooses the backend",
    "device": "a GPU is used if the backend (KERAS_BACKEND) supports it",
    "gpu": "a GPU is used if the backend (KERAS_BACKEND) supports it",
    "cuda": "a GPU is used if the backend (KERAS_BACKEND) supports it",
    "val-split": "every tenth document is held out, or the last tenth of a single one",
    "validation-split": "every tenth document is held out, or the last tenth of a single one",
    "version": "charlm --version prints the version",
}
COMMANDS = {  # names of commands elsewhere
    "generate": "sample", "gen": "sample", "predict": "sample", "fit": "train", "eval": "evaluate",
    "test": "evaluate", "validate": "evaluate", "perplexity": "score", "benchmark": "bench",
    "convert": "export", "finetune": "train --init-from", "fine-tune": "train --init-from",
    "resume": "train --resume", "continue": "train --resume", "version": "--version",
    "load": "import", "save": "export", "numpy": "reference",
}  # fmt: skip


def option(flag: str, known: Sequence[str]) -> str:
    """Returns a hint for an unknown option, "" if nothing is like it.

    Args:
        flag: as it was typed, for example "--lr".
        known: the command's options, for example ["--units", "-n"].
    """
    name = flag.lstrip("-").replace("_", "-").lower()
    names = {x.lstrip("-"): x for x in known}
    ours = [*(x for x in ELSEWHERE.get(name, ()) if x in names)][:1]
    if not ours and name in INSTEAD and "resume" in names:  # they are about training
        return INSTEAD[name]
    if not ours:
        begins = [x for x in names if len(name) > 1 and x.startswith(name)]
        ours = begins if len(begins) == 1 else _similar(name, names)
    return f"did you mean {names[ours[0]]}?" if ours else ""


def command(word: str, known: Iterable[str]) -> str:
    """Returns the command that a user may have meant, "" if nothing is like the word."""
    word = word.lower()
    return COMMANDS.get(word) or next(iter(_similar(word, known)), "")


def _similar(word, known):
    return difflib.get_close_matches(word, [*known], 1, CUTOFF)
