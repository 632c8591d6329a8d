"""What a command says of an exception: a sentence for every kind."""

import re

from tfvit.engine import binding_words

_KERAS = re.compile(r"Exception encountered when calling [^\n]*\n+|"
                    r"\n+Call arguments received by [\s\S]*")
_THROUGH = "\n  In call to conf"
_OURS = (ValueError, OSError, FloatingPointError, MemoryError, ImportError)
# Python's own, where no one has written a sentence for the user.
_FOREIGN = (UnicodeError,)


def of(error: Exception) -> str:
    """Returns what to say of an error to the user, without any trace of calls.
    """
    text = str(error)
    # Gin adds through which configurables the error came.
    plain = _without_keras(text.split(_THROUGH)[0])
    if isinstance(error, _OURS) and not isinstance(error, _FOREIGN) and plain:
        return plain
    if isinstance(error, TypeError) and (said := binding_words.unbound(error)):
        return said
    where = re.search(r"In call to configurable '([^']*)'", text)
    what = f": {plain.rstrip('.')}" if plain else ""
    return (f"{type(error).__name__}{what}"
            f"{f' (in {where[1]})' if where else ''}. "
            "--verbose shows where.")


def _without_keras(text):
    """A message without what Keras adds: the layer, and all its arguments."""
    return " ".join(_KERAS.sub("", text).split("\n\n")[0].split("\n")).strip(
        ) if _KERAS.search(text) else text.strip()
