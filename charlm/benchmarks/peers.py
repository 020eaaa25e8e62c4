"""The peers that are measured."""

import importlib.util
from dataclasses import dataclass, field

HERE = "charlm.benchmarks"


@dataclass(frozen=True)
class Peer:
    """One row of a table.

    Args:
        name: name in tables and for --peers.
        make: "module:function" in this package, which takes a `Case`, `gpu` and `options` and
            returns jobs.
        needs: the package that it requires.
        backend: KERAS_BACKEND.
        options: further arguments of `make`.
        devices: the devices on which it is measured.
        exact: whether it computes in float32 and must agree with the others.
        quick: whether --quick includes it.
        ordinary: whether TensorFlow keeps its default allocator, instead of the one that charlm's
            commands ask for.
        cores: how many of the cores allowed it uses; None for all.
    """

    name: str
    make: str
    needs: str = "tensorflow"
    backend: str = "tensorflow"
    options: dict = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "gpu")
    exact: bool = True
    quick: bool = True
    ordinary: bool = False
    cores: int | None = None

    def missing(self) -> str | None:
        """Returns the reason why it cannot be measured here, or None."""
        if importlib.util.find_spec(self.needs):
            return None
        extra = {"torch": "bench", "jax": "jax"}.get(self.needs)
        hint = f"; pip install -e '.[{extra}]' in charlm's folder" if extra else ""
        return f"{self.needs} is not installed{hint}"


OURS, KERAS = {"own": True}, {"own": False}
CPU, GPU = ("cpu",), ("gpu",)

STEP = (  # compared with the first that can be measured
    Peer("ours-tf", "keras_step:make", options=OURS, devices=CPU),
    Peer("ours-tf-xla", "keras_step:make", options=OURS | {"xla": True}, devices=GPU),
    Peer(  # with compiled kernels on processors with AVX512-BF16
        "ours-tf-bf16",
        "keras_step:make",
        options=OURS | {"precision": "bf16"},
        devices=CPU,
        exact=False,
    ),
    Peer("ours-jax", "keras_step:make", "jax", "jax", OURS, quick=False),
    Peer(
        "ours-jax-bf16",
        "keras_step:make",
        "jax",
        "jax",
        OURS | {"precision": "bf16"},
        devices=GPU,
        exact=False,
        quick=False,
    ),
    Peer("ours-torch", "keras_step:make", "torch", "torch", OURS, devices=CPU, quick=False),
    Peer("keras-tf", "keras_step:make", options=KERAS),  # on a GPU, cuDNN
    Peer("keras-tf-xla", "keras_step:make", options=KERAS | {"xla": True}, devices=CPU),
    Peer("keras-jax", "keras_step:make", "jax", "jax", KERAS),
    Peer("torch", "torch_step:make", "torch"),  # on a GPU, cuDNN
    Peer("torch-bf16", "torch_step:make", "torch", options={"half": True}, exact=False),
)
MATMUL = (
    Peer("numpy", "matmul:make", "numpy", options={"library": "numpy"}, devices=CPU),
    Peer("tensorflow", "matmul:make", options={"library": "tensorflow"}),
    Peer("torch", "matmul:make", "torch", options={"library": "torch"}),
)
SAMPLING = (
    Peer("ours", "sampling:ours", "numba", options={"machine_code": True}),
    Peer("ours-numpy", "sampling:ours", "numpy", options={"machine_code": False}),
    Peer("keras-predict", "sampling:window"),
    Peer("keras-tf-loop", "sampling:graph"),
    Peer("torch", "sampling:torch_loop", "torch"),
)
FIT = (
    Peer("bare-step", "fit:bare"),
    Peer("fit", "fit:whole"),
    Peer("fit-progress", "fit:whole", options={"shown": True}),
)
LAYERS = {  # by engine: models with Keras's layers, and with charlm's
    engine: tuple(
        Peer(f"{who}-{engine}", "layer_models:make", needs, needs, own | jit, ordinary=True)
        for who, own in (("keras", KERAS), ("ours", OURS))
    )
    for engine, needs, jit in (
        ("tf", "tensorflow", {"jit": False}),
        ("tf-xla", "tensorflow", {"jit": True}),
        ("jax", "jax", {"jit": True}),
    )
}
