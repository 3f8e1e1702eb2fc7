"""Every error that the library raises on purpose.

A message says what failed, what was expected, what was received and what to try.
"""


class PplError(Exception):
    """Root of the library's errors."""


class BackendError(PplError):
    """A backend is unknown, incomplete, or its library is not installed."""


class GapError(BackendError, NotImplementedError):
    """The active backend, or a family of distributions, declares in its ``gaps`` that it lacks this feature, and why."""


class ConcreteValueError(BackendError, TypeError):
    """Python code needs the value of an array that is not known where a function is compiled or differentiated."""


class HandlerError(PplError, ValueError):
    """An effect handler was built or used wrongly."""


class SiteError(PplError, ValueError):
    """A sample, param or factor site is inconsistent: its name, shape, type or value."""


class DuplicateSite(SiteError):
    """Two sites of one trace share a name."""


class PlateError(SiteError):
    """A plate is inconsistent: its size, its dimension or its use."""


class PlateCollision(PlateError):
    """Two active plates claim the same dimension, or one plate is entered twice."""


class ShapeError(SiteError):
    """Shapes do not fit: a batch dimension that no plate declares, or operands that do not broadcast."""


class IndexingError(PplError, IndexError):
    """Indices have no meaning for a batch: too many of them, of a wrong type, or of shapes that do not broadcast."""


class ConstraintError(PplError, ValueError):
    """A parameter or a value lies outside its constraint."""


class RandomKeyError(PplError, RuntimeError):
    """A draw inside compiled code found no random key."""


class RecordingError(PplError, RuntimeError):
    """A run drew other random numbers than the recorded one, or drew where none can be recorded."""


class ParamError(PplError, ValueError):
    """A parameter is unknown, changed its shape or constraint, or its file is damaged."""


class InferenceError(PplError, ValueError):
    """An inference algorithm was configured or used wrongly."""


class EnumerationError(InferenceError):
    """A model has another density when its discrete sites are enumerated, or cannot be enumerated at all."""


class ExponentialContraction(InferenceError, NotImplementedError):
    """A sum over joint assignments has a cost that is exponential in the size of its factors."""


class InitializationError(InferenceError):
    """No point of finite log density and gradient was found to start from."""


class CheckpointError(InferenceError):
    """A checkpoint is missing, damaged, or of another model, data or version."""


class DiagnosisError(PplError, ValueError):
    """A model cannot be checked: it is no function, or its arguments are of no use."""


class PplWarning(UserWarning):
    """Root of the library's warnings."""
