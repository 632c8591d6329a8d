"""README and tools/docs: the links lead somewhere, the commands are accepted.

What can be run without downloads is run by the tests of what it shows; here
every command is held against the flags, gin files and bindings that there are.
"""

import ast
import pathlib
import re
import shlex

import pytest

from tests.finetuning import photos
from tfvit import config
from tfvit import experiment

ROOT = pathlib.Path(config.ROOT)
PAGES = [ROOT / "README.md", *sorted((ROOT / "tools/docs").glob("*.md"))]
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.M | re.S)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
MADE_BY_USERS = "/data/"  # Paths of the pages that only a reader may have.
ALWAYS = {"help", "helpfull"}  # Flags of all commands.


def commands():
    """[page, [word, ...]] of each command of tfvit on the pages."""
    found = []
    for page in PAGES:
        for block in SHELL.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                # Loops and command substitutions have commands inside.
                for part in re.split(r"; \[|; do|\bwhile ", line):
                    words = shlex.split(part, comments=True)
                    name = next((i for i, word in enumerate(words)
                                 if re.match(r"(tfvit|tools)\.\w", word)), None)
                    if name is not None and words[name - 1] == "-m":
                        found.append((page.name, words[name:]))
                    elif words and words[0] == "tfvit":
                        found.append((page.name, words[1:]))
    return found


COMMANDS = commands()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What readers have in /data."""
    folder = tmp_path_factory.mktemp("data")
    photos.draw(folder / "flowers", 1)
    (folder / "photos.csv").write_text("image,label\n" + "".join(
        f"flowers/{name}/000.jpg,{name}\n" for name in photos.CLASSES))
    return folder


def source(command):
    """The file of a command, written either way."""
    paths = ([command.replace(".", "/") + ".py"] if "." in command else
             [f"tfvit/{command}.py", f"tools/{command}.py"])
    return next(ROOT / path for path in paths if (ROOT / path).exists())


def defined(path):
    """Names of the flags that a file defines."""
    return {
        next(part.value for part in ast.walk(node.args[0])
             if isinstance(part, ast.Constant))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and
        getattr(node.func, "attr", "").startswith("DEFINE_")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, section = link.partition("#")
        if not link.startswith("http"):
            target = page.parent / path if path else page
            assert target.exists(), link
            if section:
                titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
                assert section in [
                    re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
                    for title in titles], link


def test_readme_is_one_that_is_read_to_the_end_and_names_all_pages():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 250
    for page in PAGES[1:]:
        assert f"](tools/docs/{page.name})" in text


def test_there_are_commands():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("page, words", COMMANDS,
                         ids=lambda x: " ".join(x) if isinstance(x, list)
                         else x)
def test_flags_of_commands_exist(page, words):
    del page
    path = source(words[0])
    known = ALWAYS | defined(path) | defined(ROOT / "tfvit/launch.py")
    if "page_flags.define()" in path.read_text():
        known |= defined(ROOT / "tfvit/page_flags.py")
    given = {word[2:].split("=")[0] for word in words if word.startswith("--")}
    assert given <= known


@pytest.mark.parametrize(
    "words", [words for _, words in COMMANDS if words[0] == "tfvit.train"],
    ids=" ".join)
def test_runs_are_accepted_by_gin_and_experiment(words, data):
    values = {"gin_file": [], "gin_bindings": []}
    for word in words[1:]:
        name, _, value = word.partition("=")
        values.setdefault(name[2:], []).append(value)
    files = values["gin_file"]
    if any(file.startswith((MADE_BY_USERS, "runs/")) for file in files):
        pytest.skip("the page has the file made by the command before")
    bindings = [line.replace(MADE_BY_USERS, f"{data}/")
                for line in values["gin_bindings"]]
    exp, _ = experiment.from_config(files, bindings)
    assert exp.total_steps


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_the_pages_compiles_and_names_what_there_is(page):
    for block in PYTHON.findall(page.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    folder = ROOT / node.module.replace(".", "/")
                    assert (folder / f"{alias.name}.py").exists()
