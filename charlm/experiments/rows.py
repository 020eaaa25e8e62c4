"""The rows of `charlm.experiments.recipe`: presets, and what was tried for them."""

import shlex
from typing import NamedTuple

from charlm import presets
from charlm.config import Config


class Row(NamedTuple):
    """A run to measure."""

    corpus: str  # or "shakespeare", for the file given as --shakespeare
    flags: str
    change: str | None = None  # of `changes`

    @property
    def preset(self) -> Config:
        """The preset that its flags change."""
        words = shlex.split(self.flags)
        name = words[words.index("--preset") + 1] if "--preset" in words else presets.DEFAULT
        return presets.PRESETS[name]

    @property
    def asked(self) -> str:
        """Everything that the run depends on, except the code and the text."""
        return f"{presets.flags(self.preset)}; {self.flags}; {self.change}"


MAIN = {
    **{
        name: Row("state_union", f"--preset {name}")
        for name, preset in presets.PRESETS.items()
        if preset.data.abc_fields is None  # of any text
    },
    "original": Row(
        "state_union_original", "--units 128 --dropout 0 --output-bias zeros --epochs 10"
    ),
    "shakespeare, nanoGPT's time": Row(
        "shakespeare", "--units 288 --dropout 0 --window 24 --learning-rate 0.015 --epochs 3"
    ),
    "shakespeare, 15 minutes": Row(
        "shakespeare",
        "--preset best --dropout 0.4 --weight-drop 0.4 --output-bias zeros --epochs 23",
    ),
}
# these need no other text and no GPU
BY_DEFAULT = ["quick", "default", "best", "quick-bpe", "default-bpe", "best-bpe", "original"]
# Trials: runs of a minute, and longer ones that overfit a small text
SHORT = Row("state_union", "--preset quick")
LONG = Row(
    "shakespeare",
    "--units 256 --dropout 0.2 --weight-drop 0.2 --output-bias zeros --epochs 10",
)
TRIED_SHORT = (
    *("", "--window 16", "--window 32", "--window 64", "--batch-size 16", "--batch-size 64"),
    *("--learning-rate 0.005", "--learning-rate 0.01", "--learning-rate 0.015"),
    *("--learning-rate 0.03", "--warmup-steps 50", "--dropout 0.1"),
    *("--units 136 --layers 2", "--units 136 --layers 2 --skip add", "--precision fp32"),
    *("--cell gru", "--cell gru --learning-rate 0.005", "--cell coupled", "--output-bias zeros"),
    *("label-smoothing", "embedding", "tied-output"),
    *("averaged-weights", "linear-schedule", "late-schedule", "constant-rate"),
    *("adam-beta-2-99", "adamw", "nadam", "rmsprop", "lion", "sgd"),
    *("layer-normalisation", "multiplicative"),
)
# on byte pairs: the more tokens, the smaller a network of the same time
EPOCHS_2, EPOCHS_3 = "--epochs 2 --learning-rate 0.025", "--epochs 3 --learning-rate 0.025"
TRIED_TOKENS = (
    *("--tokens bpe:1000", "--tokens bpe:2000", "--tokens bpe:1000 --batch-size 16"),
    "--tokens bpe:4000 --units 128 --learning-rate 0.025",
    "--epochs 2 --tokens bpe:4000 --units 96 --learning-rate 0.04",
    *(f"--epochs 2 --tokens bpe:{N}" for N in (1000, 1500, 2000)),
    *(f"--epochs 2 --tokens bpe:1000 --learning-rate {rate}" for rate in (0.014, 0.028)),
    "--epochs 2 --tokens bpe:1000 --window 16",
    *(f"{EPOCHS_2} --tokens bpe:1500 --units 144", f"{EPOCHS_2} --tokens bpe:2000 --units 128"),
    *(f"{EPOCHS_2} --tokens bpe:{N} --units 96" for N in (3000, 4000, 6000)),
    *(f"{EPOCHS_2} --tokens bpe:4000 --units 80", f"{EPOCHS_2} --tokens bpe:8000 --units 64"),
    f"{EPOCHS_2} --tokens bpe:4000 --units 96 --window 16",
    f"{EPOCHS_2} --tokens bpe:4000 --units 96 --dropout 0.1",
    *(f"{EPOCHS_3} --tokens bpe:2000 --units 112", f"{EPOCHS_3} --tokens bpe:4000 --units 80"),
)
# one unit of text after the other, each with a network and epochs of about the time of `quick`
TRIED_UNITS = (
    *("", "--tokens bpe:256", "--tokens bpe:500 --units 176 --epochs 2"),
    "--tokens bpe:1000 --units 160 --epochs 3",
    f"--tokens bpe:2000 --units 128 {EPOCHS_2}",
    f"--tokens bpe:4000 --units 96 {EPOCHS_2}",
    f"--tokens words:4000 --units 96 {EPOCHS_2}",
    f"--tokens words:8000 --units 64 {EPOCHS_2}",
)
TRIED_BEST_TOKENS = "--dropout 0.4 --weight-drop 0.3", "averaged-weights", "token-dropout"
# a large output layer, whole and sampled
LARGE = Row("state_union", f"--preset quick --units 96 {EPOCHS_2}")
TRIED_LARGE = [
    (
        f"{change or 'whole'}, {tokens}",
        LARGE._replace(flags=f"{LARGE.flags} --tokens {tokens}", change=change),
    )
    for tokens in ("bpe:4000", "bpe:12000")
    for change in (None, "sampled-softmax")
]
SHAKESPEARE, DROPS = Row("shakespeare", "--window 24"), "--dropout 0.4 --weight-drop 0.2"
TRIED_SHAKESPEARE = (
    "--units 288 --dropout 0 --learning-rate 0.015 --epochs 3",
    "--tokens bpe:1000 --units 192 --dropout 0.1 --learning-rate 0.015 --epochs 4",
    "--tokens bpe:2000 --units 128 --dropout 0.1 --learning-rate 0.02 --epochs 4",
    "--tokens bpe:500 --units 256 --dropout 0.4 --weight-drop 0.3 --learning-rate 0.012 --epochs 6",
    f"{DROPS} --tokens bpe:1000 --units 192 --learning-rate 0.015 --epochs 8",
    f"{DROPS} --tokens bpe:2000 --units 128 --learning-rate 0.02 --epochs 8",
)
# as many updates each, so as much time where a step of more streams takes as long
DROP_MORE = "--dropout 0.3 --weight-drop 0.2"
TRIED_GPU_BATCH = (
    *("", DROP_MORE),
    *(
        f"--batch-size {B} --epochs {B // 8} --learning-rate {rate} {DROP_MORE}"
        for B, more in ((64, 0.011), (128, 0.016), (256, 0.023), (512, 0.032))
        for rate in (0.008, more)
    ),
)
TRIED_LONG = (
    *("", "--dropout 0 --weight-drop 0", "--dropout 0.4 --weight-drop 0"),
    *("--dropout 0 --weight-drop 0.4", "--dropout 0.4 --weight-drop 0.4"),
    *("dropout-by-step", "character-dropout", "label-smoothing", "averaged-weights", "adamw"),
    *("--units 192 --layers 2 --skip add", "--window 24", "--batch-size 16", "--cell gru"),
    *("zoneout", "recurrent-dropout"),
)


def _trials(name, base, tried):
    for x in tried:
        is_change = x and not x.startswith("-")
        row = base._replace(change=x) if is_change else base._replace(flags=f"{base.flags} {x}")
        yield f"{name}: {x or 'as it is'}", row


TRIALS = dict(
    [
        *_trials("short", SHORT, TRIED_SHORT),
        *_trials("long", LONG, TRIED_LONG),
        *_trials("tokens", SHORT, TRIED_TOKENS),
        *_trials("units", SHORT, TRIED_UNITS),
        *_trials("best-bpe", Row("state_union", "--preset best-bpe"), TRIED_BEST_TOKENS),
        *((f"softmax: {name}", row) for name, row in TRIED_LARGE),
        *_trials("gpu-batch", Row("state_union", "--preset quick-gpu"), TRIED_GPU_BATCH),
        *_trials("shakespeare-tokens", SHAKESPEARE, TRIED_SHAKESPEARE),
    ]
)
ROWS = MAIN | TRIALS
