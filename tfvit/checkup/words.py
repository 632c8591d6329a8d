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
        lines += textwrap.wrap(said, _WIDTH, initial_indent=head,
                               subsequent_indent=indent)
        if f.is_problem:
            lines += textwrap.wrap(f.way_out, _WIDTH,
                                   initial_indent=f"{indent}-> ",
                                   subsequent_indent=f"{indent}   ",
                                   break_long_words=False,
                                   break_on_hyphens=False)
    count = sum(f.is_problem for f in findings)
    lines += ["", f"{count} problem{'s' * (count > 1)}." if count else
              "Nothing that would stop a run."]
    return "\n".join(lines)
