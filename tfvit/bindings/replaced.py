"""Takes out what gin files bind of functions that nothing refers to any more.

A line of the command line, or of a file that includes another, may put another
function in the place of one that a file has settings for; those are then no
mistake. Works on what gin holds, {(scope, function): {argument: value}}.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import logging

from tfvit.bindings import gin_text


def fit(config: dict, from_files: Mapping, files: Sequence[str]) -> None:
    """Drops bindings of functions that a file refers to, and the end does not.

    Args:
      config, from_files: see `drop`.
      files: the files' texts.
    """
    texts = gin_text.Texts()
    for text in files:
        for line in gin_text.split(text):
            gin_text.add(line, texts)
    once = {name.rsplit("/", 1)[-1] for name in texts.references()}
    macros = texts.used()

    def droppable(key):
        scope, selector = key
        if selector == "gin.macro":
            return scope in macros
        return any(f".{selector}".endswith(f".{name}") for name in once)

    dropped = sorted(drop(config, from_files, droppable))
    if dropped:
        logging.debug("Without what the files set of functions that are "
                      "replaced: %s.", ", ".join(dropped))


def drop(config: dict, from_files: Mapping, droppable: Callable) -> list[str]:
    """Drops such bindings of the files, whatever they alone refer to as well.

    What the command line says stays, for whoever said it to hear of it.

    Args:
      config: see above; changed in place.
      from_files: as config, what the gin files alone say.
      droppable: (scope, function) -> whether it may go.

    Returns:
      The names of what went.
    """
    names, before = [], None
    while before != len(names):
        before = len(names)
        there = named(config)
        for key, arguments in list(config.items()):
            if not droppable(key) or _is_named(key, there):
                continue
            said = from_files.get(key, {})
            for name, value in list(arguments.items()):
                if name in said and said[name] == value:
                    del arguments[name]
                    names.append(_name(key, name))
            if not arguments:
                del config[key]
    return names


def named(config: Mapping) -> set[tuple[str, str]]:
    """(scope, function) of all that the config refers to."""
    return {("/".join(ref.scopes), ref.configurable.selector)
            for arguments in config.values() for value in arguments.values()
            for ref in _references(value)}


def _is_named(key, there):
    """Whether a function may be called with what (scope, function) binds.

    Without a scope of its own it has that of whoever calls it.
    """
    scope, selector = key
    return any(selector == other and (
        not scope or not inner or f"{inner}/".startswith(f"{scope}/"))
               for inner, other in there)


def _references(value) -> Iterator:
    if hasattr(value, "configurable"):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _references(part)


def _name(key, argument):
    scope, selector = key
    if selector == "gin.macro":
        return scope
    short = selector.split(".", 2)[-1]
    return "/".join([*[scope] * bool(scope), f"{short}.{argument}"])
