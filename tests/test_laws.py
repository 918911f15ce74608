"""DESIGN.md's laws, read off the source: who may import what, who may patch, who may look at the world."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "hotlap"
STARTUP = PACKAGE / "inside" / "startup"
INSIDE = ("inside", "probes", "loader")  # the user's process; knobs are of both worlds
PURE = ("audits", "search", "verify", "report", "stats.py")
PURE_OF_RACE = ("budget", "compare", "curves", "goals", "halving", "range_test", "result", "shapes")
HEAVY = ("torch", "scipy", "numpy", "plotly")

# Law 2's exceptions, each with its reason.
MAY_SET_ATTRIBUTES = {
    "inside/host.py": "the one place",
    "inside/loaders.py": "a shallow copy of a loader, made there and seen by one iterator only",
}


def parts(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).parts


def dotted(path: Path) -> str:
    names = ["hotlap", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py")) if STARTUP not in path.parents}


def is_inside(path: Path) -> bool:
    return parts(path)[0] in INSIDE


def is_knob(path: Path) -> bool:
    return parts(path)[0] == "knobs"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module that a file imports when it runs; only when it is loaded itself with `top_level`."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if top_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            found.add(node.module or "")
            found.update(f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in MODULES)
        waiting += ast.iter_child_nodes(node)
    return found


def reached(start: set[str], *, knobs_top_level: bool) -> set[str]:
    """hotlap's own modules that these come to import, and the packages around them."""
    seen: set[str] = set()
    waiting = sorted(start)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        waiting.append(name.rpartition(".")[0])
        path = MODULES[name]
        waiting += sorted(imports(path, top_level=knobs_top_level and is_knob(path)))
    return seen


PARENT = {name for name, path in MODULES.items() if not is_inside(path) and not is_knob(path)}
LOADED_INSIDE = reached({n for n, p in MODULES.items() if is_inside(p) or is_knob(p)}, knobs_top_level=False)


def of_torch(name: str) -> bool:
    return name.split(".")[0].startswith("torch") or name == "safetensors.torch"


# -- law 1


def test_the_parent_never_imports_torch() -> None:
    """Neither itself nor through a knob; and nobody there imports inside."""
    everything = reached(PARENT | {n for n, p in MODULES.items() if is_knob(p)}, knobs_top_level=True)
    for name in sorted(everything):
        path = MODULES[name]
        assert not is_inside(path), f"the parent comes to import {name}"
        guilty = {module for module in imports(path, top_level=is_knob(path)) if of_torch(module)}
        assert not guilty, f"{name} imports {guilty}"


def test_inside_needs_the_standard_library_and_torch_alone() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "hotlap"}
    for name in sorted(LOADED_INSIDE):
        guilty = {module for module in imports(MODULES[name]) if module.split(".")[0] not in allowed}
        assert not guilty, f"{name}, which is loaded in the user's process, imports {guilty}"


def test_what_is_loaded_inside_imports_without_any_other_package() -> None:
    """The same, run: an import of a third package by one of hotlap's own files is refused."""
    code = f"""
import builtins, importlib, sys
allowed = {{*sys.stdlib_module_names, "torch", "hotlap"}}
original = builtins.__import__
def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {{}}).get("__name__", "").startswith("hotlap") and name.split(".")[0] not in allowed:
        raise ImportError(f"{{globals['__name__']}} imports {{name}}")
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = guarded
for name in {sorted(LOADED_INSIDE)!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_what_is_loaded_inside_is_python_3_10() -> None:
    """The user's Python may be older than hotlap's."""
    newer = {"tomllib", "StrEnum", "Self", "chdir", "file_digest", "UTC", "assert_never", "ExceptionGroup", "add_note"}
    for path in [*(MODULES[name] for name in sorted(LOADED_INSIDE)), *STARTUP.glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        ast.parse(text, filename=str(path), feature_version=(3, 10))
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
        names |= {
            a.name for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names
        }
        assert not names & newer, f"{path.name} uses {names & newer}, which Python 3.10 does not have"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tune", "--help"], ["list", "--json"]])
def test_the_command_line_starts_without_heavy_packages(arguments: list[str]) -> None:
    """`hotlap --help` is instant, and so is every answer that needs no number."""
    heavy = ("torch",) if arguments[0] == "list" else HEAVY
    code = f"""
import sys
sys.argv = ["hotlap", *{arguments!r}]
from hotlap.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_option_with_a_value_is_known_before_a_launcher() -> None:
    """`hotlap race --batch-size 64 -m package` must not take 64 for the script."""
    from typer.main import get_command

    from hotlap.cli import OPTIONS_WITH_VALUE, app

    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    trains = [command for command in commands if any(p.name == "command" for p in command.params)]
    takes = {name for c in trains for p in c.params for name in p.opts if name[:2] == "--" and not p.is_flag}

    assert len(trains) > 3
    assert takes == set(OPTIONS_WITH_VALUE)


# -- law 2


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_host_patches(name: str) -> None:
    path = MODULES[name]
    found = patches(path)
    if "/".join(parts(path)) in MAY_SET_ATTRIBUTES:
        return
    assert not found, f"{name} assigns into what is not its own: {found}"


def patches(path: Path) -> list[str]:
    """Assignments into imported modules and classes, and every setattr by whatever name."""
    foreign = foreign_names(tree(path))
    found: list[str] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and sets_attribute(node):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        targets: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load) and root(part) in foreign:
                found.append(f"line {node.lineno}: {ast.unparse(part)}")
    return found


def foreign_names(module: ast.Module) -> set[str]:
    """Names bound by imports of other people's modules, and by plain paths below them (`flags = torch.backends`)."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.split(".")[0] for a in node.names if not a.name.startswith("hotlap")}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("hotlap"):
            names |= {a.asname or a.name for a in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and root(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def sets_attribute(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in ("__setattr__", "__delattr__"):
        return True
    if not (isinstance(function, ast.Name) and function.id in ("setattr", "delattr")):
        return False
    return not (call.args and isinstance(call.args[0], ast.Name) and call.args[0].id == "self")


def root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


# -- law 3

OUTER_WORLD = {
    *("time", "os", "datetime", "pathlib", "subprocess", "socket", "tempfile", "shutil", "glob", "io", "platform"),
    *("psutil", "random", "secrets", "uuid", "getpass", "pynvml"),
}
READS_WORLD = {
    *("environ", "getenv", "read_text", "write_text", "read_bytes", "write_bytes", "perf_counter", "monotonic", "now"),
    *("today", "urandom", "getcwd", "default_rng", "stdin"),
}


def is_pure(path: Path) -> bool:
    return parts(path)[0] in PURE or (parts(path)[0] == "race" and path.stem in PURE_OF_RACE)


@pytest.mark.parametrize("name", [name for name, path in sorted(MODULES.items()) if is_pure(path)])
def test_judges_look_at_their_arguments_only(name: str) -> None:
    """No clock, no environment, no files: the same logbook gives the same report anywhere."""
    path = MODULES[name]
    imported = {module.split(".")[0] for module in imports(path)} & OUTER_WORLD
    used = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)} & READS_WORLD
    calls = {n.func.id for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}

    assert not imported, f"{name} imports {imported}"
    assert not used, f"{name} uses {used}"
    assert not calls & {"open", "input", "print"}, f"{name} calls {calls & {'open', 'input', 'print'}}"


# -- law 10 and the documents


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_line_budgets_hold() -> None:
    assert tool("budgets").over_budget() == []


def test_every_error_has_its_paragraph() -> None:
    """Somebody who meets an error can read what it means."""
    assert tool("make_docs").missing_paragraphs() == {}


def test_every_slug_is_kebab_case() -> None:
    """What the search for slugs would overlook: another spelling, or one put together at run time."""
    slugs = tool("make_docs").slugs()
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "HotlapError":
                slug = node.args[0]
                assert isinstance(slug, (ast.Constant, ast.Name, ast.IfExp)), f"{name}:{node.lineno}"
                if isinstance(slug, ast.Constant):
                    assert slug.value in slugs, f"{name}:{node.lineno}: {slug.value}"


def test_the_knobs_page_is_current() -> None:
    assert (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8") == tool("make_docs").knobs_page()


# -- the searches themselves


@pytest.mark.parametrize(
    "line",
    [
        "torch.backends.cudnn.benchmark = True",
        "flags = torch.backends.cudnn\nflags.benchmark = True",
        "Adam.step = None",
        "del torch.nn.Module.forward",
        "torch.x, y = 1, 2",
        "torch.x += 1",
        "setattr(model, 'call', None)",
        "object.__setattr__(model, 'call', None)",
    ],
)
def test_a_patch_is_seen(tmp_path: Path, line: str) -> None:
    file = tmp_path / "patch.py"
    file.write_text(f"import torch\nfrom torch.optim import Adam\n{line}\n")

    assert patches(file)


@pytest.mark.parametrize(
    "line", ["self.torch = torch.x", "own = torch.x\nown = 3", "setattr(self, 'x', 1)", "x = torch.y"]
)
def test_what_is_no_patch_is_let_be(tmp_path: Path, line: str) -> None:
    file = tmp_path / "fine.py"
    file.write_text(f"import torch\n{line}\n")

    assert not patches(file)


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "imports.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy\n"
        "def f():\n    import torch.nn\nclass C:\n    import numpy as np\n"
    )

    assert imports(file) == {"typing", "torch.nn", "numpy"}
    assert imports(file, top_level=True) == {"typing", "numpy"}
