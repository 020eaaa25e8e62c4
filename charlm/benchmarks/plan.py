"""Plans the measurements of `charlm bench` from its options."""

import time
from dataclasses import replace
from typing import Literal, get_args

from charlm.benchmarks import drop_in, estimates, layer_case, machine
from charlm.benchmarks.case import Case
from charlm.benchmarks.layer_case import LayerCase
from charlm.benchmarks.peers import STEP, Peer
from charlm.benchmarks.sections import Setup
from charlm.benchmarks.time_limit import TimeLimit
from charlm.benchmarks.workers import cpus
from charlm.errors import InputError
from charlm.notes import step_of_progress
from charlm.text.encoded_text import Text

Section = Literal["step", "sampling", "fit", "memory", "quality", "layers"]
SECTIONS = get_args(Section)
DEFAULT = SECTIONS[:-1]
QUICK = "step", "sampling", "memory"
WINDOW = 100


class Plan:
    """The base of `charlm bench`'s options, with their defaults filled in."""

    quick: bool
    only: tuple[Section, ...] | None
    layers: tuple[str, ...] | None
    engines: tuple[str, ...] | None
    peers: tuple[str, ...] | None
    cores: tuple[int, ...] | None
    units: tuple[int, ...] | None
    batch_size: int
    window: int | None
    rounds: int | None
    threads: int | None
    device: str
    minutes: float | None
    quality_epochs: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The hidden units H of the models."""
        return self.units if self.units is not None else (128,) if self.quick else (128, 256, 512)

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections to measure, in order."""
        return tuple(s for s in SECTIONS if s in (self.only or (QUICK if self.quick else DEFAULT)))

    @property
    def steps(self) -> int:
        """The sequence length T of training steps."""
        return self.window or WINDOW

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs of the section `step`."""
        return ("step",) if self.quick else ("layer", "step")

    def lineup(self) -> tuple[Peer, ...]:
        """Returns the peers of training steps, or charlm on each number of cores."""
        if self.cores:
            ours = next(p for p in STEP if self.device in p.devices)
            return tuple(replace(ours, name=f"{ours.name}-{n}", cores=n) for n in self.cores)
        return tuple(
            p for p in STEP
            if self.device in p.devices
            and (p.name in self.peers if self.peers else p.quick or not self.quick)
        )  # fmt: skip

    def cases(self) -> list[Case]:
        """Returns the models of training steps, small ones first; LSTMs only without `step`."""
        B, T = self.batch_size, self.steps
        found = [Case("lstm", H, 1, B, T) for H in self.sizes]
        if "step" in self.sections:
            found += [Case("gru", H, 1, B, T) for H in self.sizes]
            found += [] if self.quick else [Case("lstm", self.sizes[len(self.sizes) // 2], 2, B, T)]
        return found

    def layer_cases(self) -> list[LayerCase]:
        """Returns the models of the section `layers`."""
        H, B, T = min(self.sizes), self.batch_size, self.window or drop_in.WINDOW
        names = [n for n in layer_case.NAMES if any(part in n for part in self.layers or ("",))]
        return [LayerCase(name, H, B, T) for name in names]

    def setup(self) -> Setup:
        """Returns the settings of the measurements; `say` prints the time since this call."""
        rounds, seconds = (3, 0.2) if self.quick else (7, 0.4)
        began = time.monotonic()

        def say(text):
            step_of_progress(f"[{time.monotonic() - began:4.0f} s] {text}")

        return Setup(
            gpu=self.device == "gpu",
            cpus=cpus()[: self.threads],
            rounds=self.rounds or rounds,
            seconds=seconds,
            say=say,
            limit=TimeLimit(None if self.minutes is None else 60 * self.minutes),
        )

    def check_memory(self, text: Text | None) -> None:
        """Raises InputError if a section needs more memory than is available.

        Args:
            text: the text of the section `quality`, if it is measured.
        """
        needed = estimates.memory(self.lineup(), self.cases(), self.layer_cases(), text)
        available = machine.available_memory()
        for section in self.sections:
            if needed.get(section, 0) > available:
                raise InputError(
                    f"expected benchmarks that fit in the memory available, {available / 1e9:.1f} "
                    f"GB, found {section} of about {needed[section] / 1e9:.1f} GB; give smaller "
                    "--units, --batch-size or --window, fewer --peers, or leave the section out "
                    "with --only"
                )
