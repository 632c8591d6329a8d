"""The architecture: imports point down the floors, each door has one user."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = [  # Lowest first; a module may import from its own floor and below.
    r"models|data|weights|optimize|distribute|storage",
    r"bindings|engine|evaluators|serving|server|tpu|config",
    r"experiment|trainer|launch|flag_words|page_flags|error_words|terminal|"
    r"inference|finetuning|checkup|reproduction",
    r"api|finetune|train|evaluate|export|predict|serve|demo|benchmark|"
    r"tpu_check|doctor|prepare|decode_worker|reproduce|__main__",
]
DOORS = {
    "gin": r"config",
    "official": r"data/images/randaug",
    "tensorflow_text": r"data/tokenizers",
    "tensorflow_datasets": r"data/datasets/sources",
    "array_record": r"data/datasets/array_records",
    "scipy": r"weights/adapt",
    "sklearn": r"data/datasets/digits",
    "pyarrow": r"data/datasets/(parquet|arrow)",
    "tf2onnx": r"serving/convert",
    "onnxruntime": r"serving/convert",
    "matplotlib": r"inference/figures",
    "wandb": r"engine/writers",
    "mlflow": r"engine/writers",
    "starlette": r"server/app",
    "uvicorn": r"serve",
    "safetensors": r"weights/tensor_files",
    "torch": r"weights/tensor_files",
    "jax": r"tpu/compile_step",
    "grpc": r"data/(service|decode_server)",
}


def _modules():
    for path in sorted((ROOT / "tfvit").rglob("*.py")):
        if path.name != "__init__.py":
            name = str(path.relative_to(ROOT / "tfvit").with_suffix(""))
            yield name, ast.parse(path.read_text())


def _imports(tree):
    """Absolute dotted names that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _floor(name):
    first = name.split("/")[0]
    return next(i for i, names in enumerate(FLOORS)
                if re.fullmatch(names, first))


def test_no_module_imports_from_a_floor_above():
    for name, tree in _modules():
        for imported in _imports(tree):
            if imported.startswith("tfvit."):
                other = "/".join(imported.split(".")[1:])
                assert _floor(other) <= _floor(name), f"{name} -> {imported}"


def test_no_cycles():
    graph = {
        name: {"/".join(i.split(".")[1:]) for i in _imports(tree)
               if i.startswith("tfvit.")} for name, tree in _modules()
    }
    done = set()
    while len(done) < len(graph):
        ready = {n for n, deps in graph.items() if deps <= done} - done
        assert ready, f"A cycle among {sorted(set(graph) - done)}"
        done |= ready


def test_each_third_party_package_has_one_door():
    for name, tree in _modules():
        for imported in _imports(tree):
            door = DOORS.get(imported.split(".")[0])
            assert not door or re.fullmatch(door, name), f"{name}: {imported}"


def test_modules_are_imported_rather_than_names():
    for name, tree in _modules():
        for imported in _imports(tree):
            if imported.startswith("tfvit."):
                path = ROOT / imported.replace(".", "/")
                assert path.is_dir() or path.with_suffix(".py").exists(), (
                    f"{name} imports the name {imported}")


def test_no_top_level_file_beside_the_fixed_layout():
    allowed = {
        "tfvit", "gin", "tools", "tests", "setup.cfg", "pyproject.toml",
        "README.md", "LICENSE", ".ci", ".git", ".gitignore"
    }
    ignored = {".venv", ".pytest_cache", "runs", "build", "dist"}
    found = {p.name for p in ROOT.iterdir()
             if not p.name.endswith(".egg-info")}
    assert found <= allowed | ignored
    # It would shadow the gin package.
    assert not (ROOT / "gin" / "__init__.py").exists()


def test_no_module_is_longer_than_a_reader_takes_in():
    for folder in ("tfvit", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path


def test_tests_lie_where_what_they_test_lies():
    homes = {"tools": ROOT / "tools", "gin": ROOT / "gin"}
    for path in (ROOT / "tests").rglob("*_test.py"):
        first, *rest = path.parent.relative_to(ROOT / "tests").parts or ("",)
        home = homes.get(first, ROOT / "tfvit" / first).joinpath(*rest)
        assert home.is_dir(), f"{path}: there is no {home}"
