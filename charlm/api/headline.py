"""The line that a training begins with: its devices, network and text."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlm.training.trainer import Training  # which loads Keras


def headline(training: "Training", folder: Path, preset: str | None) -> str:
    """Describes a run that is about to train; a second line has a hint, if there is one.

    Args:
        training: the run.
        folder: its folder.
        preset: the name of the preset that chose the sizes; None for other sizes.
    """
    from charlm.training import device

    several = training.processes.count
    sizes, data, text = training.config.model, training.config.data, training.text
    precision, n = training.config.fit.precision, training.devices
    each = data.batch_size // n
    layer = next(x for x in training.network.layers if hasattr(x, "cell"))
    origin, backward_pass = "Keras's ", "Keras's"
    if sizes.uses_own_layer:
        origin, backward_pass = "", layer.backward_pass()
    kind = f"{origin}{type(layer).__name__} {sizes.layers} x {sizes.units}"
    kind += "" if precision == "fp32" else f" in {precision}"
    held_out = f"{training.held_out_characters:,}"
    if 0 < data.max_held_out < text.held_out_characters:
        held_out += f" of {text.held_out_characters:,}"
    parts = [
        device.describe(),
        *([f"{several} processes ({training.processes.launcher})"] if several > 1 else []),
        *([f"{n} devices, {each} stream{'s' * (each > 1)} each"] if n > 1 else []),
        f"{kind}, {backward_pass} backward pass",
        f"{training.network.count_params():,} parameters",
        f"{text.training_characters:,} characters to train on, {held_out} held out",
        f"vocabulary {training.vocab}",
        str(folder),
    ]
    hint = device.hint(preset)
    return "; ".join(parts) + (f"\nhint: {hint}" if hint else "")
