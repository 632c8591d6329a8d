"""What goes wrong with a request, in TensorFlow Serving's words and codes."""

import tensorflow as tf

from tfvit.storage import errors

# Its codes as HTTP has them (http_server.cc), and one of our own.
HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "NOT_FOUND": 404,
    "TOO_LARGE": 413,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_OF_TENSORFLOW = {
    tf.errors.InvalidArgumentError: "INVALID_ARGUMENT",
    tf.errors.FailedPreconditionError: "FAILED_PRECONDITION",
    tf.errors.OutOfRangeError: "OUT_OF_RANGE",
    tf.errors.ResourceExhaustedError: "RESOURCE_EXHAUSTED",
    tf.errors.UnimplementedError: "UNIMPLEMENTED",
}


class Status(Exception):
    """A request that cannot be answered.

    Args:
      code: one of HTTP.
      message: for the client.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message):
    """The Status of a request that is wrong."""
    return Status("INVALID_ARGUMENT", message)


def of(error):
    """The Status of any exception; what is not for clients stays unsaid."""
    if isinstance(error, Status):
        return error
    for kind, code in _OF_TENSORFLOW.items():
        if isinstance(error, kind):
            return Status(code, errors.reason(error).splitlines()[0])
    return Status("INTERNAL", f"The model failed: {type(error).__name__}.")
