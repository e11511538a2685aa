"""What can go wrong while measuring."""


class DeviceError(ValueError):
    """A device was asked for that does not exist, or its description is wrong."""


class MeasurementError(RuntimeError):
    """The device could not be measured at all; a single failing model is an entry with an error instead."""


class JournalError(ValueError):
    """A journal is there that belongs to other models, another device or other versions."""
