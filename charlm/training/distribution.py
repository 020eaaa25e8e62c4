"""Divides a run's streams among the devices of JAX, by `keras.distribution`.

Weights are the same on every device; each device reads its own streams and keeps their states. The
gradients are summed over all devices, so a step is that of one device with all streams.
"""

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
    if processes > 1 and (n != found or found % processes):
        raise InputError(
            f"expected --batch-size to be a multiple of the {found} devices of {processes} "
            f"processes, as many in each, found {streams}"
        )
    if n == 1:
        return None
    names = keras.distribution.list_devices()
    layouts = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((n,), [BATCH], names[:n]))
    layouts[CARRIED] = (BATCH, None)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name=BATCH, auto_shard_dataset=False
    )
