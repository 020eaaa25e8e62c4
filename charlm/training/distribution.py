"""Divides a run's streams among the devices of JAX, by `keras.distribution`.

Weights are the same on every device; each device reads its own streams and keeps their states. The
gradients are summed over all devices, so a step is that of one device with all streams.
"""

from collections import Counter

import keras

from charlm.errors import InputError

BATCH = "batch"  # the axis of the devices
CARRIED = r"streams/(training|validation)_\d+"  # paths of the states (B, H) in `Streams`


def found_devices() -> int:
    """Returns the number of devices that JAX has for training; 1 on other backends."""
    return len(keras.distribution.list_devices()) if keras.backend.backend() == "jax" else 1


def over_devices(streams: int, processes: int = 1) -> keras.distribution.ModelParallel | None:
    """Returns how to divide streams among devices: the most that get the same number each.

    Args:
        streams: B, of a batch.
        processes: number of processes, whose devices must all be used.

    Returns:
        A distribution for `keras.distribution`; None for one device.

    Raises:
        InputError: streams that cannot be divided among the devices of several processes.
    """
    found = found_devices()
    n = max(k for k in range(1, found + 1) if streams % k == 0)
    if processes > 1:
        _check(streams, found, processes)
    if n == 1:
        return None
    layouts = keras.distribution.LayoutMap(
        keras.distribution.DeviceMesh((n,), [BATCH], _names()[:n])
    )
    layouts[CARRIED] = (BATCH, None)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name=BATCH, auto_shard_dataset=False
    )


def _names():
    """Returns the names of all devices, those of process 0 first, as its streams are the first."""
    import jax

    found = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    return [f"{d.platform}:{d.id}" for d in found]


def _check(streams, found, processes):
    import jax

    counts = Counter(d.process_index for d in jax.devices())
    if len(counts) != processes or len({*counts.values()}) > 1:
        raise InputError(
            f"expected the same number of devices in each of {processes} processes, found "
            f"{', '.join(str(counts[k]) for k in range(processes))}"
        )
    if streams % found:
        raise InputError(
            f"expected --batch-size to be a multiple of {found}, the number of all devices, found "
            f"{streams} (for a small text charlm chooses it, unless you give it)"
        )
