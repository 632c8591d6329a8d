"""One line of what doctor finds."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is the matter with one thing, if anything is.

    Attributes:
      about: the thing.
      found: what is there.
      way_out: what to do about it, where it is a problem; else "".
      note: what it means for runs; or "".
    """
    about: str
    found: str
    way_out: str = ""
    note: str = ""

    @property
    def is_problem(self):
        return bool(self.way_out)
