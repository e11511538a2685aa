"""The timing of ONNX models on a device: device descriptions, workers, and the interleaved measurement protocol."""

from profilers.device import Device, load_devices
from profilers.errors import DeviceError, MeasurementError
from profilers.measurement import Measurement, Model
from profilers.profiler import Profiler
from profilers.result import ProfileResult

__all__ = [
    "Device",
    "DeviceError",
    "Measurement",
    "MeasurementError",
    "Model",
    "ProfileResult",
    "Profiler",
    "load_devices",
]
