"""What is wrong with gin files and bindings, in a sentence with the way out.

Looks at texts alone, so that it is said before anything heavy is imported.
What it does not know it lets pass: gin has the last word.
"""

import re

from tfvit.bindings import file_words
from tfvit.bindings import former_names
from tfvit.bindings import gin_text
from tfvit.bindings import settable
from tfvit.storage import spelling

_REFERENCE = re.compile(r"@(?:[\w.\-]+/)*(\w+)\.(\w+)\b(?!\.)")
_WINDOWS = re.compile(r"['\"][A-Za-z]:\\")
_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}
_ASKED_BY_NAME = ("AUGREG",)  # Macros that bring a file of their own.
COUNTED = "NUM_CLASSES"  # The macro that the data can tell.


def check(files, bindings=(), *, whole=False, runs=False):
    """Checks what --gin_file and --gin_bindings say.

    Args:
      files: names of gin files, as the user wrote them.
      bindings: gin bindings that override them.
      whole: whether macros are to be checked: that all which are used have
        values, and that the bindings set no others.
      runs: whether it is a run: it must have all that an experiment needs,
        and use the functions that the bindings set something of.

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: a binding cannot be meant so.
    """
    for file in files:
        file_words.check(file)
    texts = gin_text.read(files)
    texts.complete &= bool(files)
    said = {}  # Name of a parameter -> the binding that sets it.
    for binding in bindings:
        known = {**settable.modules(), **texts.imports}
        for line in gin_text.split(former_names.updated_binding(
                binding, known)):
            if not line.startswith(("include ", "include'", 'include"')):
                words = f'--gin_bindings="{binding.strip()}"'
                _check_line(line, words, texts)
                said[line.split("=")[0].strip()] = words
    _check_cycles(texts)
    if whole and texts.complete and not any(
            name in _ASKED_BY_NAME for name, _ in texts.statements):
        _check_macros(texts, bindings, files)
        if runs:
            _check_used(texts, said)
            _check_experiment(texts)


def check_statements(file):
    """Raises ValueError for what is wrong in a gin file, if it is known."""
    texts = gin_text.read([file])
    for text in texts.comments[:1]:
        for line in gin_text.split(text):
            if not line.startswith("include") and not line.endswith(":"):
                _check_line(line, f"--gin_file={file}: {line}", texts)


def _check_line(line, said, texts):
    """Checks one statement, and adds it to the texts."""
    before = len(texts.statements)
    if not gin_text.add(line, texts):
        raise ValueError(
            f"{said} is no binding: write NAME = VALUE, in quotes, such as "
            '--gin_bindings="experiment.Experiment.total_steps = 500".')
    if len(texts.statements) == before:
        return  # An import.
    name, value = texts.statements[-1]
    _check_value(name, value, said)
    _check_name(name, value, texts, said)
    for module, function in _REFERENCE.findall(
            gin_text.without_strings(value)):
        _check_function(module, function, texts, said)


def _check_value(name, value, said):
    if not value:
        raise ValueError(f"{said} has no value.")
    if bracket := gin_text.unbalanced(value):
        raise ValueError(f"{said}: the bracket {bracket} has no other half.")
    if _WINDOWS.match(value) and not value.startswith(("r'", 'r"')):
        raw = value.strip("'\"").replace("\\\\", "/").replace("\\", "/")
        if "\\\\" not in value:
            raise ValueError(f"{said}: a backslash means something else in "
                             f"gin's texts: write {name} = '{raw}'.")
    if value.startswith(tuple("@%[({")) or settable.is_literal(value):
        return
    if value.lower() in _WORDS:
        raise ValueError(f"{said}: write {name} = {_WORDS[value.lower()]}, "
                         "with a capital.")
    if re.fullmatch(r"[\d_.+\-*/ ()e]+", value):
        raise ValueError(f"{said}: gin does not calculate: write the number "
                         "itself.")
    if value[0] in "'\"":
        raise ValueError(f"{said}: the quotes of {value} do not match.")
    if re.fullmatch(r"[\w.]+\s*\(.*\)", value, re.DOTALL):
        raise ValueError(f"{said}: gin calls no functions of Python: write the "
                         "value itself.")
    raw = value.replace("\\", "/")
    raise ValueError(f"{said}: a text needs quotes: {name} = {raw!r}.")


def _check_name(name, value, texts, said):
    *_, name = name.rsplit("/", 1)
    words = name.split(".")
    if len(words) == 1:
        if not texts.complete or name.isupper():
            return  # A macro, seen to by _check_macros.
        if name in texts.used():
            return
        full = gin_text.bound_first(settable.named(name), texts)
        if full:
            raise ValueError(f"{said} does not say of what: write "
                             f"{full[0]} = {value}.")
        raise ValueError(
            f"{said}: {name} is no setting." + spelling.did_you_mean(
                name, [*settable.functions("experiment")["Experiment"],
                       *texts.used()]))
    if len(words) == 2:
        where = _check_function(*words, texts, said, whole=name)
        if where is None:
            return
    if len(words) != 3:
        return
    parameters = _check_function(*words[:2], texts, said)
    if parameters is None or words[2] in parameters:
        return
    near = spelling.near(words[2], parameters)
    means = (f" Did you mean {near[0]}?" if near else
             f" It has: {', '.join(parameters)}.")
    raise ValueError(f"{said}: {words[0]}.{words[1]} has no parameter "
                     f"{words[2]}.{means}")


def _check_function(module, function, texts, said, whole=None):
    """Parameters of a function of tfvit, or None where they are not known."""
    modules = settable.modules()
    path = texts.imports.get(module, modules.get(module))
    if path is None:
        if not texts.complete:
            return None
        if whole and (full := settable.named(function)):
            # Experiment.total_steps, or a module's name forgotten.
            same = [name for name in full if name.endswith(f".{whole}")]
            if same:
                raise ValueError(f"{said}: write the whole name, {same[0]}.")
        raise ValueError(f"{said}: there is no module {module}." +
                         spelling.did_you_mean(
                             module, {**modules, **texts.imports}))
    short = path.rsplit(".", 1)[-1]
    if modules.get(short) != path:
        return None  # One of the user's own.
    functions = settable.functions(short)
    if function in functions:
        if whole:
            parameters = ", ".join(functions[function] or ())
            raise ValueError(f"{said}: {whole} is a function: name one of its "
                             f"parameters: {parameters}.")
        return functions[function]
    public = [name for name in functions if not name.startswith("_")]
    near = spelling.near(function, public)
    if whole and not near:  # The function was left out.
        near = [name.split(".", 1)[1] for name in settable.named(function)
                if name.startswith(f"{module}.")][:1]
    means = f" Did you mean {module}.{near[0]}?" if near else ""
    raise ValueError(f"{said}: {module} has no {function}.{means}")


def _check_macros(texts, bindings, files):
    """Checks that macros of the command line are used, and all have values."""
    used = texts.used()
    for binding in bindings:
        for line in gin_text.split(binding):
            name = line.split("=")[0].strip()
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or name in used:
                continue
            # One of a model, say, may be given where the data alone is read.
            if near := spelling.did_you_mean(name, used, "{}"):
                raise ValueError(f'--gin_bindings="{binding.strip()}": no gin '
                                 f"file uses %{name}.{near}")
    bound = {name.rsplit("/", 1)[-1] for name, _ in texts.statements}
    if open_ := sorted(used - bound - {COUNTED}):
        raise missing(open_, files)


def _check_cycles(texts):
    """Checks that no macro stands for itself, not even by way of others."""
    values = {name: value for name, value in texts.statements
              if re.fullmatch(r"\w+", name)}
    refers = {name: gin_text.Texts(statements=[(name, value)]).used()
              for name, value in values.items()}
    for first in refers:
        path, seen = [(first, [first])], set()
        while path:
            name, way = path.pop()
            for other in sorted(refers.get(name, ())):
                if other == first:
                    raise ValueError(
                        f"{', '.join(f'{n} = {values[n]}' for n in way)}: "
                        f"{first} stands for itself; give it a value.")
                if other not in seen:
                    seen.add(other)
                    path.append((other, [*way, other]))


def _check_used(texts, said):
    """Checks that what bindings set something of is what a run calls."""
    used = {name.rsplit("/", 1)[-1] for name in gin_text.Texts(
        statements=list(dict(texts.statements).items())).references()}
    modules = settable.modules()
    for parameter, words in said.items():
        module, _, rest = parameter.rsplit("/", 1)[-1].partition(".")
        function, _, name = rest.partition(".")
        path = texts.imports.get(module, modules.get(module))
        if (not name or module == "experiment" or
                path != modules.get(module) or f"{module}.{function}" in used):
            continue
        near = sorted(other for other in used
                      if other.startswith(f"{module}.") and name in (
                          settable.functions(module).get(
                              other.split(".")[1]) or ()))
        raise ValueError(
            f"{words}: this run does not use {module}.{function}" +
            (f", but {near[0]}: {near[0]}.{name}." if near else
             f": nothing refers to @{module}.{function}."))


def _check_experiment(texts):
    """Checks that the experiment has what it has no defaults for."""
    bound = {name.rsplit("/", 1)[-1] for name, _ in texts.statements}
    parameters = settable.functions("experiment")["Experiment"]
    names = [f"experiment.Experiment.{name}"
             for name, default in parameters.items() if default is None]
    absent = [name for name in names if name not in bound]
    if absent:
        raise ValueError(
            "The gin files are only a part of a run: nothing sets "
            f"{', '.join(absent)}. Whole ones are in gin/, such as "
            "--gin_file=gin/digits.gin; repeat --gin_file to join parts.")


def missing(names, files):
    """A ValueError for macros that have no value.

    Args:
      names: of the macros.
      files: the gin files that ask for them.
    """
    comments = "\n".join(gin_text.read(files).comments)
    words = []
    for name in names:
        example = re.search(rf'--gin_bindings="({name} ?= ?[^"]*)"', comments)
        text = re.sub(r" ?= ?", " = ", example[1]) if example else (
            f"{name} = ...")
        words.append(f'--gin_bindings="{text}"')
    return ValueError(
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no value "
        f"yet. Add, with your own: {' '.join(words)}")


def unbound(error):
    """What to say of a TypeError for parameters that no binding sets, or None.
    """
    found = re.search(r"(\w+)(?:\.__init__)?\(\) missing \d+ required .*?: "
                      r"(.*)", str(error))
    if not found:
        return None
    names = []
    for argument in re.findall(r"'(\w+)'", found[2]):
        full = [name for name in settable.named(argument)
                if name.split(".")[1] == found[1]]
        names += full[:1]
    if not names:
        return None
    words = " ".join(f'--gin_bindings="{name} = ..."' for name in names)
    return (f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no "
            f"value. Set {'it' if len(names) == 1 else 'them'}: {words}")
