"""What a measurement says of a published number."""

import math

_Z = 1.959964  # Of a normal distribution, 95 % lie within so many deviations.

REPRODUCED = "reproduced"
SO_FAR = "agrees so far"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
MISSING_WEIGHTS = "missing weights"
MISSING_DATA = "missing data"
FAILED = "failed"
NOT_RUN = "not run"
MEASURED = (REPRODUCED, SO_FAR, DIFFERS, NOT_COMPARABLE)
ALL = (*MEASURED, MISSING_WEIGHTS, MISSING_DATA, FAILED, NOT_RUN)


def wilson(share, count):
    """The 95 % interval (low, high) of a share of `count` trials.

    E. B. Wilson, 1927: unlike share +- 2 deviations it stays in [0, 1] and
    holds near 0 and 1.
    """
    weight = _Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = _Z * math.sqrt(share * (1 - share) / count +
                          weight / (4 * count)) / (1 + weight)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def of(row, share, count, images=None, examples=None):
    """(verdict, why) of a measurement.

    The images of a whole split are those that were published on: then the
    number itself is compared, within the row's tolerance. Of some of them it
    is the interval that must reach the number.

    Args:
      row: a ledger.Row.
      share: what was measured, in [0, 1].
      count: examples that it is of.
      images: of how many images, where not of all.
      examples: images that were seen, where they are not what is counted.
    """
    away = abs(share - row.expected)
    examples = count if examples is None else examples
    published = f"{row.examples:,}" if row.examples else "all"
    if images is not None and row.task == "retrieval":
        return NOT_COMPARABLE, (f"Searched among {images:,} images instead of "
                                f"{published}: that is easier.")
    if images is not None:
        low, high = wilson(share, count)
        away = max(low - row.expected, row.expected - high, 0.0)
        if _within(away, row.tolerance):
            return SO_FAR, f"On {images:,} images of the split."
    elif row.examples not in (None, examples):
        return NOT_COMPARABLE, (f"The split has {examples:,} examples, that of "
                                f"the number {published}.")
    elif _within(away, row.tolerance):
        return REPRODUCED, ""
    if row.caveat and _within(away, row.slack):
        return NOT_COMPARABLE, row.caveat
    return DIFFERS, row.caveat


def _within(away, limit):
    return away <= limit + 1e-9  # 0.812 + 0.002 is 0.8140000000000001.
