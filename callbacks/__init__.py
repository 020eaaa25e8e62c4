"""Keras callbacks of a training run, one in each file.

A callback decides when something is done; the library does it. In a run they are called in an order
in which an epoch is measured, then reported, then saved.
"""

from callbacks.record_cells import RecordCells
from callbacks.record_updates import RecordUpdates
from callbacks.report_epoch import ReportEpoch
from callbacks.report_start import ReportStart
from callbacks.sample_text import SampleText
from callbacks.save_weights import SaveWeights
from callbacks.show_progress import ShowProgress
from callbacks.stop_early import StopEarly
from callbacks.stop_on_nan import StopOnNaN
from callbacks.stop_on_signal import StopOnSignal
from callbacks.track_progress import TrackProgress

__all__ = [
    "RecordCells",
    "RecordUpdates",
    "ReportEpoch",
    "ReportStart",
    "SampleText",
    "SaveWeights",
    "ShowProgress",
    "StopEarly",
    "StopOnNaN",
    "StopOnSignal",
    "TrackProgress",
]
