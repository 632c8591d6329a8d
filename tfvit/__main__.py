"""Vision Transformers, hybrids, MLP-Mixer and LiT for TensorFlow 2.

  tfvit train --gin_file=gin/b16_cifar10.gin
  tfvit evaluate --workdir=runs/b16_cifar10
  tfvit export --workdir=runs/b16_cifar10 --out=exports/b16
  tfvit predict photos/ --model=exports/b16

`tfvit COMMAND` is `python -m tfvit.COMMAND`, or `python -m tools.COMMAND` in a
checkout; `tfvit COMMAND --help` lists its flags.
"""

import ast
import os
import runpy
import sys

from tfvit.storage import spelling

_HERE = os.path.dirname(os.path.abspath(__file__))
_COMMANDS = ("finetune", "train", "evaluate", "export", "predict", "serve",
             "demo", "benchmark", "tpu_check", "doctor", "prepare",
             "decode_worker", "reproduce")
_FORMER = {"to_tfrecords": "prepare SOURCE --format=tfrecord --out=FOLDER",
            "bench_input": "benchmark --input --photos=500x375"}


def _tools():
    """(package, folder) of the tools: inside an installed tfvit, else beside.
    """
    inside = os.path.join(_HERE, "tools")
    if os.path.isdir(inside):
        return "tfvit.tools", inside
    return "tools", os.path.join(os.path.dirname(_HERE), "tools")


def _commands():
    """{command: (module, its file)}: what can be run, tools last."""
    found = {name: (f"tfvit.{name}", os.path.join(_HERE, f"{name}.py"))
             for name in _COMMANDS}
    package, folder = _tools()
    for file in sorted(os.listdir(folder)):
        name, suffix = os.path.splitext(file)
        path = os.path.join(folder, file)
        if suffix == ".py" and "\nif __name__ ==" in _read(path):
            found[name] = f"{package}.{name}", path
    return found


def _read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def _usage():
    commands = _commands()
    width = max(map(len, commands))
    lines = [__doc__.rstrip(), "", "Commands:"]
    for name, (_, path) in commands.items():
        # Without importing: TensorFlow alone takes seconds.
        about = ast.get_docstring(ast.parse(_read(path))) or ""
        about = about.split("\n")[0]
        about = about.split(": python -m")[0].rstrip(":.,")
        lines.append(f"  {name:{width}}  {about}")
    return "\n".join(lines)


def main():
    """The console command."""
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h", "help"):
        print(_usage())
        return
    commands = _commands()
    if words[0] in _FORMER:
        sys.exit(f"tfvit: {words[0]} is now: tfvit {_FORMER[words[0]]}")
    if words[0] not in commands:
        sys.exit(f"tfvit: there is no command {words[0]!r}." +
                 (spelling.did_you_mean(words[0], commands) or
                  f" There are: {', '.join(commands)}."))
    module, _ = commands[words[0]]
    sys.path.insert(0, os.getcwd())  # As `python -m` does: for own modules.
    if module.startswith("tools."):
        sys.path.insert(0, os.path.dirname(_HERE))
    sys.argv = [f"tfvit {words[0]}", *words[1:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
