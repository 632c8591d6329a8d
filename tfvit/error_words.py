"""What a command says of an exception: a sentence for every kind."""

import re

from tfvit.bindings import binding_words

_KERAS = re.compile(r"Exception encountered when calling [^\n]*\n+|"
                    r"\n+Call arguments received by [\s\S]*")
# "in user code:", then a line or two for each call, then the message.
_FRAME = re.compile(r"^ *File \"[^\n]*\", line \d+, in [^\n]*\n"
                    r"(?: +\S[^\n]*\n)?", re.MULTILINE)
_PLACE = re.compile(r"[\\/]tfvit[\\/](?:\w+[\\/])*(\w+)\.py\", "
                    r"line \d+, in (\w+)")
_THROUGH = "\n  In call to conf"
_OURS = (ValueError, OSError, FloatingPointError, MemoryError, ImportError)
# Python's own, where no one has written a sentence for the user.
_FOREIGN = (UnicodeError,)


def of(error: Exception) -> str:
    """Returns what to say of an error to the user, without any trace of calls.
    """
    text = str(error)
    plain_text = plain(text)
    if isinstance(error, _OURS) and not isinstance(error, _FOREIGN) and (
            plain_text):
        return plain_text
    if isinstance(error, TypeError) and (said := binding_words.unbound(error)):
        return said
    where = re.search(r"In call to configurable '([^']*)'", text)
    places = [".".join(place) for place in _PLACE.findall(text)]
    name = where[1] if where else places[-1] if places else None
    what = f": {plain_text.rstrip('.')}" if plain_text else ""
    return (f"{type(error).__name__}{what}"
            f"{f' (in {name})' if name else ''}. "
            "--verbose shows where.")


def plain(text: str) -> str:
    """Returns a message without what Gin, Keras and AutoGraph add to it.

    That is through which configurables, layers and calls it came.
    """
    text = text.split(_THROUGH)[0]
    if not (_KERAS.search(text) or _FRAME.search(text)):
        return text.strip()
    text = _FRAME.split(_KERAS.sub("", text))[-1]
    text = re.sub(r"^\s*\w+(Error|Exception): ", "", text)
    return " ".join(text.split())
