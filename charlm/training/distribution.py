"""Divides a run's streams among the devices of JAX, by `keras.distribution`.

Weights are the same on every device; each device reads its own streams and keeps their states. The
gradients are summed over all devices, so a step is that of one device with all streams.
"""

import keras

BATCH = "batch"  # the axis of the devices
CARRIED = r"streams/(training|validation)_\d+"  # paths of the states (B, H) in `Streams`


def found_devices() -> int:
    """Returns the number of devices that JAX has for training; 1 on other backends."""
    return len(keras.distribution.list_devices()) if keras.backend.backend() == "jax" else 1


def over_devices(streams: int) -> keras.distribution.ModelParallel | None:
    """Returns how to divide streams among devices: the most that get the same number each.

    Args:
        streams: B, of a batch.

    Returns:
        A distribution for `keras.distribution`; None for one device.
    """
    n = max(k for k in range(1, found_devices() + 1) if streams % k == 0)
    if n == 1:
        return None
    names = keras.distribution.list_devices()
    layouts = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((n,), [BATCH], names[:n]))
    layouts[CARRIED] = (BATCH, None)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name=BATCH, auto_shard_dataset=False
    )
