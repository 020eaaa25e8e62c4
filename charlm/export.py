"""`charlm export RUN`: writes a run as a model for programs that do not have charlm."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charlm import cli
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Context, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, flag, require
from charlm.inside import webpage
from charlm.interop import export
from charlm.runs import atomic, lookup


@dataclass(frozen=True)
class Export:
    """Writes a run as a model that does not need charlm, and checks it against the sampler.

    keras: a .keras file of stock Keras layers, ids (B, T) -> logits (B, T, V) from zero states.
    saved_model, onnx: a single step, ids (B,) and states -> logits (B, V) and next states.
    safetensors: the state dict of a PyTorch module with an nn.LSTM, nn.GRU or nn.RNN "rnn", which
    reads one-hot vectors (B, T, V), and an nn.Linear "linear":
    docs/guide/import-and-export.md shows the module.
    html: the page of charlm show, which runs the model in a browser, with a text that the model
    writes; without a comparison.
    Except with html, a .vocab.json file next to the model lists the characters in the order of
    their ids; of a run with --tokens it is a tokenizer that Hugging Face's tokenizers reads.
    """

    run: tyro.conf.Positional[Run] = lookup.LATEST
    format: Literal["keras", "saved_model", "onnx", "safetensors", "html"] = "keras"
    """Format to write; onnx needs the extra "onnx"."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File (saved_model: folder) to write. Default: the run's name, in the current folder, with
    the format's ending (saved_model: -step)."""
    overwrite: bool = False
    """Replace an earlier export of the same name."""
    context: Context = None
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Export, "charlm export", argv)
    path, saved = lookup.read_best(args.runs_dir, args.run, args.context)
    output = args.output or Path(f"{path.parent.resolve().name}{export.SUFFIX[args.format]}")
    _check_output(args, output)
    network = saved.to_network()
    if args.format in ("safetensors", "html"):
        saved.vocab.require_characters(f"write {args.format}")

    if args.format == "html":
        return _write_page(saved, output, path.parent.resolve().name)

    def quiet():
        return cli.quiet_stderr(f"exporting to {output}")

    difference = export.write(saved, network, args.format, output, quiet)
    if not difference <= export.TOLERANCE:  # NaN is not
        print(
            f"failed: logits or states differ from the sampler's by {difference:.1e}; nothing was "
            "written",
            file=sys.stderr,
        )
        return cli.FAILED
    what = "logits" if args.format == "keras" else "logits and states"
    if args.context is not None:
        what = f"in the context {cli.visible(args.context)}, {what}"
    print(
        f"{output}, {export.vocab_file(output)}; {what} equal the sampler's to {difference:.0e} "
        f"over {export.CHECK_LENGTH} steps of {export.STREAMS} streams"
    )
    data = saved.config.data
    lost = [flag("records")] * (data.separator is not None and data.abc_fields is None)
    lost += [flag("abc_fields")] * (data.abc_fields is not None)
    lost += [flag("normalize")] * (data.normalize != "none")
    if lost:
        cli.note(
            f"NOTE: the export does not store {' and '.join(lost)}; an import of it lacks them"
        )
    return 0


def _write_page(saved, output, name):
    data = webpage.page(saved, name).encode("utf-8", "backslashreplace")
    atomic.write(output, data)
    print(f"{output}: {len(data) / 1e6:.1f} MB; open it in a browser")
    return 0


def _check_output(args, output):
    """Raises InputError unless the export's files can be written."""
    require(output.name, "output", "the name of a file", output)
    ending = Path(f"x{export.SUFFIX[args.format]}").suffix  # "" for a folder
    if ending and output.suffix != ending:
        raise InputError(f"expected --output to end in {ending}, found {output}")
    for path in (output, export.vocab_file(output)):
        if not os.path.lexists(path):
            outputs.check_file("output", path)
    export.check_replaceable(output, args.format, args.overwrite)


if __name__ == "__main__":
    sys.exit(main())
