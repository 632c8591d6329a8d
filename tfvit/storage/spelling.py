"""Names that are nearly those of something that there is."""

from collections.abc import Iterable
import difflib


def near(word: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that `word` may have been meant to be, best first."""
    known = list(dict.fromkeys(known))
    folded = {}
    for name in known:
        folded.setdefault(_folded(name), name)
    found = difflib.get_close_matches(_folded(word), folded, 3, 0.6)
    return [folded[name] for name in found]


def did_you_mean(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """" Did you mean 'x'?", or "" where nothing is near."""
    found = near(word, known)
    return f" Did you mean {form.format(found[0])}?" if found else ""


def _folded(name):
    """A name without what is easily mistaken: capitals, - for _."""
    return name.lower().replace("-", "_")
