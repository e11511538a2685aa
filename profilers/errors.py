"""Errors of measuring."""


class DeviceError(ValueError):
    """A device was asked for that does not exist, or its description is wrong."""


class MeasurementError(RuntimeError):
    """The device could not be measured at all; a single failing model is an entry with an error instead."""


class JournalError(ValueError):
    """A journal is there that belongs to other models, another device or other versions."""


class ConversionError(Exception):
    """A model cannot be written in a runtime's own format."""


class WorkerLostError(Exception):
    """The worker died, hung past its deadline, or said something that was not asked or is no event."""


class NoAnswerError(WorkerLostError):
    """The worker hung: what was asked of it was not answered before the deadline."""
