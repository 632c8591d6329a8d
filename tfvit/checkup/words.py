"""The table of doctor."""

import textwrap

_WIDTH = 80


def table(findings):
    """A line for each finding; below a problem, the way out."""
    width = max(len(f.about) for f in findings)
    indent = " " * (9 + width + 2)
    lines = []
    for f in findings:
        said = f.found + (f" ({f.note})" if f.note else "")
        head = f"{'PROBLEM' if f.is_problem else 'ok':9}{f.about:{width}}  "
        lines += _wrapped(said, head, indent)
        if f.is_problem:
            lines += _wrapped(f.way_out, f"{indent}-> ", f"{indent}   ")
    count = sum(f.is_problem for f in findings)
    lines += ["", f"{count} problem{'s' * (count > 1)}." if count else
              "Nothing that would stop a run."]
    return "\n".join(lines)


def _wrapped(text, first, others):
    # Commands and names of packages stay whole.
    return textwrap.wrap(text, _WIDTH, initial_indent=first,
                         subsequent_indent=others, break_long_words=False,
                         break_on_hyphens=False)
