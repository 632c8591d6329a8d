"""A command's flags: what --help says, and what is said of wrong ones.

Works before anything heavy is imported.
"""

import inspect
import os
import re
import sys
import textwrap

from absl import flags

from tfvit.bindings import gin_text
from tfvit.bindings import settable
from tfvit.storage import spelling

_WIDTH = 80
_INDENT = 6
_SAME = [("workdir", "out", "output"), ("model", "workdir")]  # For one thing.
_HELP = {"--help", "-help", "-h", "-?", "--helpfull", "--helpshort"}


def parse(shared, *, shared_module, required=()):
    """Reads sys.argv; returns the words that are no flags.

    Prints the help and ends the process if that is asked for.

    Args:
      shared: names of the flags of `shared_module` that the command has; it
        refuses the others.
      shared_module: name of the module that defines flags for all commands.
      required: names of flags that must be given, or "a|b", one of which.

    Raises:
      ValueError: a flag is unknown, or has no such value.
    """
    values = flags.FLAGS
    for flag in list(values.flags_by_module_dict().get(shared_module, ())):
        if flag.name not in shared:
            delattr(values, flag.name)
    if _HELP & set(_before_end(sys.argv[1:])):
        print(text(shared_module, required), flush=True)
        sys.exit(0)
    try:
        words = values(sys.argv)[1:]
    except flags.UnrecognizedFlagError as error:
        raise ValueError(_unknown(error.flagname, error.flagvalue)) from error
    except flags.Error as error:
        raise ValueError(f"{str(error).strip().splitlines()[0]} (`{command()} "
                         "--help` lists the flags.)") from error
    for name, *others in (names.split("|") for names in required):
        given = [other for other in (name, *others)
                 if getattr(values, other) not in (None, [])]
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]}: give one of "
                             "them.")
        if not given:
            about = _about(values[name]).rstrip(".")
            instead = "".join(f" (or --{other})" for other in others)
            raise ValueError(f"--{name}{instead} is required: {about}. "
                             f"(`{command()} "
                             "--help` shows an example.)")
    return words


def _before_end(words):
    """The words up to --, after which none is a flag."""
    return words[:words.index("--")] if "--" in words else words


def command():
    """How the running command is called: tfvit train, python -m tools.x."""
    if not os.path.basename(sys.argv[0]).endswith(".py"):
        return sys.argv[0]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else f"python {sys.argv[0]}"


def own():
    """Flags that the command itself defines, in the order of its text."""
    return flags.FLAGS.flags_by_module_dict().get(sys.argv[0], [])


def text(shared_module, required=()):
    """What --help prints."""
    about = inspect.cleandoc(sys.modules["__main__"].__doc__ or "")
    # Python joins lines that end with a backslash.
    about = re.sub(r"(?<=\S) {4,}(?=-)", r" \\\n      ", about)
    parts = [about]
    shared = flags.FLAGS.flags_by_module_dict().get(shared_module, [])
    for title, found in (("Flags:", own()), ("Flags of all commands:", shared)):
        if found:
            parts += ["", title] + [
                line for flag in found
                for line in _lines(flag, flag.name in required)]
    return "\n".join(parts)


def _about(flag):
    """A flag's help, without what absl adds: its values, how to repeat it."""
    return re.sub(r"^<[^>]*>: |;\s+repeat this option.*", "", flag.help or "",
                  flags=re.DOTALL)


def _lines(flag, required):
    value = {"float": "NUMBER", "int": "NUMBER", "string enum": "",
             "multi int": "NUMBER"}.get(flag.flag_type(), "TEXT")
    if getattr(flag.parser, "enum_values", None):
        value = "|".join(flag.parser.enum_values)
    is_switch = flag.boolean and "|" not in value
    head = f"--[no]{flag.name}" if is_switch else f"--{flag.name}={value}"
    default = flag.default
    if required:
        note = "(required)"
    elif is_switch:
        note = f"(default: {'on' if default else 'off'})"
    elif default in (None, []):
        note = ""
    else:
        note = f"(default: {default})"
    if "default" in (flag.help or "").lower():
        note = note if required else ""  # The text says it.
    body = textwrap.wrap(f"{_about(flag)} {note}".strip(), _WIDTH - _INDENT)
    return [f"  {head}", *(" " * _INDENT + line for line in body)]


def _unknown(name, word):
    """What to say of a flag that there is not; `word` may hold its value."""
    ours = [flag.name for flag in own()]
    known = [name for name in flags.FLAGS if name in ours or
             flags.FLAGS.find_module_defining_flag(name).startswith("tfvit")]
    near = spelling.did_you_mean(name, known, "--{}")
    for same in (same for group in _SAME if name in group for same in group
                 if same in known):
        return f"There is no flag --{name}. Did you mean --{same}?"
    said = f"There is no flag --{name}."
    settings = settable.functions("experiment")["Experiment"]
    begun = name.replace("-", "_")
    meant = [flag for flag in ours if flag.startswith(begun)] + (
        spelling.near(name, ours))
    if len(name) > 2 and meant and name not in settings:
        return f"{said} Did you mean --{meant[0]}?"
    if "gin_bindings" in flags.FLAGS:
        found = settable.named(name) or [] if near else settable.named(
            name) or [f"experiment.Experiment.{setting}"
                      for setting in spelling.near(name, settings)]
        if found:
            # What the gin files set comes first.
            first = gin_text.bound_first(found, gin_text.read(
                flags.FLAGS["gin_file"].value))[0]
            value = word.partition("=")[2]
            value = settable.quoted(value) if value else "..."
            return (f"{said} It is a setting: "
                    f'--gin_bindings="{first} = {value}".')
    return f"{said}{near} (`{command()} --help` lists the flags.)"
