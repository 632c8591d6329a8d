"""The table of tpu_check."""

_ROWS = [  # (what, how)
    ("device", "{}"), ("replicas", "{:,}"), ("batch", "{:,}"),
    ("batch per device", "{:,}"), ("precision", "{}"), ("fits", "{}"),
    ("limit GiB", "{:.2f}"), ("needs GiB", "{:.2f}"), ("over GiB", "{:.2f}"),
    ("peak GiB", "{:.2f}"), ("arguments GiB", "{:.2f}"),
    ("outputs GiB", "{:.2f}"), ("shared by both GiB", "{:.2f}"),
    ("temporaries GiB", "{:.2f}"), ("program GiB", "{:.3f}"),
    ("TFLOP", "{:.4g}"), ("GB", "{:.4g}"), ("all-reduces", "{:,}"),
    ("sent GB", "{:.3g}"), ("compute ms", "{:.3g}"), ("memory ms", "{:.3g}"),
    ("network ms", "{:.3g}"), ("bound", "{}"), ("img/s", "{:,.0f}"),
    ("img/s per device", "{:,.0f}"), ("build, trace s", "{}"),
    ("lower, compile s", "{}"),
]
_SECONDS = {"build, trace s": ("build", "trace"),
            "lower, compile s": ("lower", "compile")}


def table(results):
    """Results of check.check, a column each, and what to do."""
    rows = [["", *(r["topology"] for r in results)]]
    for what, how in _ROWS:
        if what in _SECONDS or any(what in r for r in results):
            rows.append([what, *(_cell(r, what, how) for r in results)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join([row[0].ljust(widths[0])] + [
        cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
        for row in rows]
    for result in results:
        if "error" in result:
            lines += ["", f"{result['topology']} does not compile: "
                      f"{result['error'][:1000]}"]
        if "advice" in result:
            lines += ["", f"{result['topology']} is too small by "
                      f"{result['over GiB']:.2f} GiB. What would help:",
                      *(f"  {line}" for line in result["advice"])]
    return "\n".join(lines)


def _cell(result, what, how):
    if what in _SECONDS:
        return ", ".join(f"{result['seconds'][part]:.0f}"
                         for part in _SECONDS[what])
    if what == "fits":
        return "yes" if result[what] else "NO"
    return how.format(result[what]) if what in result else ""
