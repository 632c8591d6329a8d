"""What a run's config.gin may name where nobody vouches for it.

A gin file is code: it imports modules and calls what is in them.
"""

import ast
import functools
import re
import tokenize

from tfvit.bindings import former_names
from tfvit.bindings import gin_text
from tfvit.bindings import settable

# What runs are configured with: whole modules, or some names of a module.
# Nothing here may write or delete where an argument says, or run a text: what
# does so belongs to the programs, not to configs. (sources.tfds prepares a
# dataset that is missing, below its data_dir, and changes nothing there.)
_WHOLE = re.compile(
    r"tfvit\.(models\.\w+|optimize\.\w+|evaluators\.\w+|data\.images\.\w+"
    r"|data\.(pipeline|prompts|tokenizers)"
    r"|data\.datasets\.(captions|combine|digits|shapes|sources|targets))")
_SOME = {
    "tfvit.experiment": ("Experiment",),
    "tfvit.data.datasets.arrow": ("table",),
    "tfvit.data.datasets.class_tars": ("images",),
    "tfvit.data.datasets.parquet": ("table",),
    "tfvit.data.datasets.prepared": ("images",),
    "tfvit.data.datasets.sampling": ("sampled",),
    "tfvit.data.datasets.webdataset": ("shards",),
    "tfvit.distribute.strategies": ("auto", "logical_cpus", "mirrored",
                                    "multi_worker", "one_device", "tpu"),
    "tfvit.engine.actions": ("early_stopping",),
    "tfvit.engine.checkpoint": ("from_run",),
    "tfvit.engine.writers": ("Csv", "Jsonl", "Mlflow", "TensorBoard", "WandB"),
    "tfvit.weights.augreg": ("catalogue_name",),
    "tfvit.weights.load": ("from_npz",),
    "tfvit.weights.towers": ("start",),
}
_NEVER = {("tfvit.engine.writers", "workdir")}  # The program says it.
_HEAD = "__gin__.dynamic_registration"
# What Python's tokenizer and gin_text could read differently.
_STRANGE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_LONG_TEXT = re.compile(r"\w*('''|\"\"\")")


def check(text: str, path: str) -> None:
    """Raises ValueError where a config could run what is not meant for configs.

    Args:
      text: of the gin file.
      path: of the file, for the message.
    """
    text = former_names.updated(text.replace("\r\n", "\n"))
    _check_signs(text, path)
    texts, imports = gin_text.Texts(), {}
    for line in gin_text.split(text):
        if line.startswith("include") or ":" in line and (
                not gin_text.add(line, texts)):
            _refuse(path, line)
        if not gin_text.add(line, texts):
            raise gin_text.damaged(path, f"it says {line[:60]!r}")
        for name, imported in texts.imports.items():
            if imported == _HEAD:
                continue
            if not _names(imported) or imports.setdefault(
                    name, imported) != imported:
                _refuse(path, f"{imported} (imported as {name})")
    for name, parameter in [*((name, None) for name in texts.references()),
                            *(name.rpartition(".")[::2]
                              for name, _ in texts.statements if "." in name)]:
        module, _, function = name.rsplit("/", 1)[-1].partition(".")
        module = imports.get(module, settable.modules().get(module, module))
        if (module, function) != ("gin", "macro") and (
                function not in _names(module)):
            if _is_cut(name, module, function):
                raise gin_text.damaged(path, f"it says {name}")
            _refuse(path, f"@{name}")
        if (module, parameter) in _NEVER:
            _refuse(path, f"{name}.{parameter}")


def _is_cut(name, module, function):
    """Whether a name is none of anything, as where a file ends too early."""
    short = module.rpartition(".")[2]
    return "." not in name or re.fullmatch(r"\w*", function) and _names(
        module) and function not in settable.functions(short)


def _refuse(path, what):
    raise ValueError(
        f"{path} says {what}, which is no setting of tfvit's and may run "
        "anything. If you know whose it is and want that, add --trust.")


def _check_signs(text, path):
    """Refuses what could hide a name: gin_text must see all that gin sees."""
    if found := _STRANGE.search(text):
        _refuse(path, repr(found[0]))
    seen = 0
    for token in gin_text.tokens(text, path):
        if token.type == tokenize.STRING and (
                "\n" in token.string or _LONG_TEXT.match(token.string)):
            _refuse(path, f"{token.string!r}, a text of several lines")
        seen += token.string == "@"
    lines = gin_text.without_strings("\n".join(gin_text.split(text)))
    if seen != len(re.findall(r"@\w", lines)):
        _refuse(path, "an @ without a name")


@functools.lru_cache(maxsize=None)
def _names(module):
    """What of a module, by its import path, configs may name."""
    if module not in settable.modules().values():
        return ()
    if not _WHOLE.fullmatch(module):
        return _SOME.get(module, ())
    return {node.name for node in settable.tree(module).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and
            not node.name.startswith("_")}
