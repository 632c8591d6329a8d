"""reproduce.md and reproduce.html: every row, measured or not."""

from tfvit.inference import report_page
from tfvit.reproduction import ledger
from tfvit.reproduction import verdicts

_TITLE = "Published numbers, measured"
_ABOUT = (
    "Intervals are Wilson's, 95 %. Of a whole split the number itself is "
    "compared, within the row's tolerance; of some of its images, the "
    "interval.")
_COLUMNS = ("row", "expected", "measured", "interval", "difference", "verdict",
            "others", "examples", "time", "device", "what it is", "source")
_TEXTS = {"row", "verdict", "device", "what it is", "source"}
_COLOURS = {verdicts.REPRODUCED: "good", verdicts.SO_FAR: "good",
            verdicts.DIFFERS: "bad", verdicts.FAILED: "bad"}
_STYLE = """
<style>:root { --good: #1d7a45 }
@media (prefers-color-scheme: dark) { :root { --good: #6fd199 } }
.good { color: var(--good); font-weight: 600 } .bad { font-weight: 600 }
body { max-width: 96rem } .rows { max-height: none }
td { vertical-align: top }
td.name { min-width: 9.5rem; white-space: nowrap } td code { white-space: normal }
td.text { text-align: left; white-space: normal; min-width: 11rem }
td.verdict { min-width: 13rem } td.what { min-width: 30rem }
code { font-size: .8rem } details { margin: .5rem 0 }
%s { text-align: left }
</style>""" % ", ".join(f"th:nth-child({number})" for number, name in
                        enumerate(_COLUMNS, 1) if name in _TEXTS)


def percent(share):
    """A share in [0, 1], as text."""
    return f"{100 * share:.2f} %"


def markdown(rows, found):
    """The page as Markdown.

    Args:
      rows: ledger.Rows.
      found: {id: record}.
    """
    lines = [f"# {_TITLE}", "", _ABOUT, "", _summary(rows, found), ""]
    for title, group in _groups(rows, found):
        lines += [f"## {title}", "",
                  "| " + " | ".join(_COLUMNS) + " |",
                  "|" + "|".join("---" if name in _TEXTS else "---:"
                                 for name in _COLUMNS) + "|"]
        lines += ["| " + " | ".join(
            cell.replace("|", "\\|") for cell in _cells(row, found)) + " |"
            for row in group]
        lines.append("")
    commands = _commands(rows, found)
    if commands:
        lines += ["## Commands", "", "```bash", *commands.values(), "```", ""]
    return "\n".join(lines)


def html_page(rows, found):
    """The page as HTML, with nothing outside; see markdown."""
    text = report_page.text
    counts = _counts(rows, found)
    tiles = "".join(f"<div><b>{count}</b><span>{text(name)}</span></div>"
                    for name, count in counts.items())
    body = [_STYLE, f'<div class="numbers">{tiles}</div>',
            f'<p class="faint">{text(_ABOUT)}</p>']
    commands = _commands(rows, found)
    for title, group in _groups(rows, found):
        body.append(f"<h2>{text(title)}</h2>")
        body.append(report_page.table(
            _COLUMNS, [_html_cells(row, found, commands) for row in group]))
    return report_page.document(text(_TITLE), "\n".join(body))


def _html_cells(row, found, commands):
    text = report_page.text
    verdict = found.get(row.id, {}).get("verdict", verdicts.NOT_RUN)
    colour = _COLOURS.get(verdict, "faint")
    for name, cell in zip(_COLUMNS, _cells(row, found)):
        content = text(cell)
        if name == "row":
            command = commands.get(row.id)
            content = f"<b>{content}</b>" + (
                f"<details><summary>command</summary><code>{text(command)}"
                "</code></details>" if command else "")
            yield f'<td class="name">{content}</td>'
        elif name == "verdict":
            first, _, why = content.partition(": ")
            yield (f'<td class="text verdict"><span class="{colour}">{first}'
                   f"</span>{'<br>' * bool(why)}{why}</td>")
        elif name in _TEXTS:
            wide = " what" * (name == "what it is")
            yield f'<td class="text{wide}">{content}</td>'
        else:
            yield f"<td>{content}</td>"


def _cells(row, found):
    """The texts of a row, in the order of _COLUMNS."""
    record = found.get(row.id, {})
    share = record.get("measured")
    verdict = record.get("verdict", verdicts.NOT_RUN)
    why = record.get("why", "")
    low, high = record.get("low"), record.get("high")
    return [
        row.id, percent(row.expected),
        "" if share is None else percent(share),
        "" if low is None else f"{100 * low:.2f} to {100 * high:.2f}",
        "" if share is None else f"{100 * (share - row.expected):+.2f}",
        verdict + (f": {why}" if why else ""),
        _second(row.second),
        f"{record['examples']:,}" if record.get("examples") else "",
        _time(record.get("seconds")), record.get("device", ""), _what(row),
        row.source]


def _second(second):
    """What others measured of the same file, if they did."""
    if not second:
        return ""
    who = second["source"].split()[0].rstrip(",")
    return f"{percent(second['value'])} ({who})"


def _what(row):
    if row.task == ledger.TRAINING:
        return row.gin + (f", {row.steps:,} steps" if row.steps else "")
    how = "" if row.task == "classification" else f", {row.task}"
    metric = "" if row.metric == "accuracy" else f", {row.metric}"
    return (f"{row.checkpoint} at {row.image_size} px on {row.dataset} "
            f"{row.split}{how}{metric}")


def _time(seconds):
    if seconds is None:
        return ""
    if not seconds:
        return "with another"
    return f"{seconds:.0f} s" if seconds < 120 else (
        f"{seconds / 60:.0f} min" if seconds < 7200 else
        f"{seconds / 3600:.1f} h")


def _groups(rows, found):
    """(title, rows): files of weights, then runs, those measured first."""
    for title, is_training in (("Files of weights", False), ("Runs", True)):
        group = [row for row in rows
                 if (row.task == ledger.TRAINING) == is_training]
        if group:
            yield title, sorted(group, key=lambda row: row.id not in found)


def _counts(rows, found):
    counts = dict.fromkeys(verdicts.ALL, 0)
    for row in rows:
        counts[found.get(row.id, {}).get("verdict", verdicts.NOT_RUN)] += 1
    return {name: count for name, count in counts.items() if count}


def _summary(rows, found):
    return f"{len(rows)} rows: " + ", ".join(
        f"{count} {name}" for name, count in _counts(rows, found).items()) + "."


def _commands(rows, found):
    return {row.id: found[row.id]["command"] for row in rows
            if row.id in found}
