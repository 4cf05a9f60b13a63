"""The rules of the house that a machine can check. A failure names file and line."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import FOLDERS, ROOT, SCRIPTS, imports, module_name, package_files, python_files, tree

# Who may import whom (design: a folder imports only folders to its left; nothing imports the front door).
ALLOWED: dict[str, set[str]] = {
    "spectra": set(),
    "tokenization": {"spectra"},
    "modeling": {"spectra", "tokenization"},
    "inference": {"spectra", "tokenization", "modeling"},
    "metrics": {"spectra"},
    "reports": {"spectra", "metrics"},
    "hub_cards": set(),
    "demo": set(),
}
LIGHT_FOLDERS = ("spectra", "metrics", "reports")
HEAVY = {"torch", "transformers", "accelerate", "peft"}
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
EVERYTHING = [*package_files(), *python_files(*SCRIPTS)]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def expect_none(found: list[str]) -> None:
    """Fail with every offending place, one per line."""
    assert not found, "\n" + "\n".join(found)


def folder_of(module: str) -> str | None:
    """`msformers.spectra.read` → `spectra`; `None` for the front door, an empty string for what is not ours."""
    parts = module.split(".")
    if parts[0] != "msformers":
        return ""
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else None


def backward_arrows(path: Path, allowed: dict[str, set[str]]) -> list[str]:
    own = folder_of(module_name(path))
    if not own:
        return []
    found = []
    for line, target in imports(path):
        folder = folder_of(target)
        if target == "msformers.__version__":
            continue
        if folder is None or (folder and folder != own and folder not in allowed[own]):
            found.append(f"{place(path, line)}: {own} imports {target}")
    return found


def offences(check: Callable[[ast.AST], bool], files: list[Path]) -> list[str]:
    return [
        place(path, getattr(node, "lineno", 0))
        for path in files
        for node in ast.walk(tree(path))
        if check(node)
    ]


def test_no_import_goes_backwards() -> None:
    expect_none([arrow for path in package_files() for arrow in backward_arrows(path, ALLOWED)])


def test_the_layering_test_can_say_no() -> None:
    """Every folder that imports another would be caught if it were not allowed to."""
    nobody: dict[str, set[str]] = {folder: set() for folder in ALLOWED}
    arrows = [arrow for path in package_files() for arrow in backward_arrows(path, nobody)]
    assert any("tokenization imports msformers.spectra" in arrow for arrow in arrows)


def test_model_files_import_only_their_own_folder() -> None:
    """That is what lets a model be published together with its code."""
    files = [path for path in python_files("modeling") if path.parent.name == "modeling"]
    ours = [
        (path, line, name) for path in files for line, name in imports(path) if name.startswith("msformers")
    ]
    expect_none([place(path, line) for path, line, name in ours if not name.startswith("msformers.modeling")])


def test_light_folders_never_import_torch() -> None:
    files = python_files(*LIGHT_FOLDERS)
    expect_none([place(p, line) for p in files for line, name in imports(p) if name.split(".")[0] in HEAVY])


def test_nobody_imports_the_package_by_its_folder_names() -> None:
    bare = {folder for folder in FOLDERS if folder != "hub_cards"}
    files = [*EVERYTHING, *python_files("tests")]
    found = [
        (p, node)
        for p in files
        for node in ast.walk(tree(p))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = [(p, n.lineno, n.module or "") for p, n in found if isinstance(n, ast.ImportFrom) and not n.level]
    names += [(p, n.lineno, alias.name) for p, n in found if isinstance(n, ast.Import) for alias in n.names]
    expect_none([place(p, line) for p, line, name in names if name.split(".")[0] in bare])


def test_files_stay_short() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in [*EVERYTHING, *python_files("tests")]
    }
    expect_none([f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > MAX_FILE_LINES])


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, its docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def test_functions_stay_short() -> None:
    long = [(p, f) for p in EVERYTHING for f in functions(p) if code_lines(f) > MAX_FUNCTION_LINES]
    expect_none([f"{place(p, f.lineno)} {f.name}: {code_lines(f)} lines" for p, f in long])


def calls(*names: str) -> Callable[[ast.AST], bool]:
    """Matches a call such as `eval(...)` or `torch.load(...)`, written exactly so."""
    return lambda node: isinstance(node, ast.Call) and ast.unparse(node.func) in names


def keyword(name: str, value: object) -> Callable[[ast.AST], bool]:
    """Matches `name=value` in a call."""
    return lambda node: (
        isinstance(node, ast.keyword)
        and node.arg == name
        and isinstance(node.value, ast.Constant)
        and node.value.value == value
    )


def test_nothing_is_unpickled_outside_the_converters() -> None:
    files = [path for path in EVERYTHING if "modeling/convert" not in path.as_posix()]
    expect_none(
        [place(p, line) for p in files for line, name in imports(p) if name.split(".")[0] in PICKLERS]
    )
    expect_none(offences(calls("torch.load", "np.load", "numpy.load", "pd.read_pickle"), files))


def test_foreign_checkpoints_are_read_with_our_own_unpickler_only() -> None:
    """`torch.load` never without the `pickle_module` that knows tensors and plain containers; `pickle.load` never."""
    converters = python_files("modeling/convert")
    loads = [(p, n) for p in converters for n in ast.walk(tree(p)) if calls("torch.load")(n)]
    assert loads, "nothing converts any more; drop this test"
    unguarded = [
        (p, n) for p, n in loads if "pickle_module" not in {k.arg for k in getattr(n, "keywords", [])}
    ]
    expect_none([place(p, getattr(n, "lineno", 0)) for p, n in unguarded])
    expect_none(offences(calls("pickle.load", "pickle.loads", "pickle.Unpickler"), converters))


def test_no_text_becomes_code_and_no_shell_is_called() -> None:
    forbidden = calls(
        "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "subprocess.getoutput"
    )
    expect_none(offences(forbidden, EVERYTHING))
    for name, value in (("shell", True), ("trust_remote_code", True), ("allow_pickle", True)):
        expect_none(offences(keyword(name, value), EVERYTHING))


def test_no_star_import_no_print_no_assert() -> None:
    expect_none(offences(lambda n: isinstance(n, ast.ImportFrom) and n.names[0].name == "*", EVERYTHING))
    expect_none(offences(calls("print"), EVERYTHING))
    expect_none(offences(lambda n: isinstance(n, ast.Assert), EVERYTHING))


def test_no_file_is_named_for_nothing_and_none_holds_a_promise() -> None:
    vague = {"utils", "util", "misc", "helpers", "common"}
    expect_none([str(p.relative_to(ROOT)) for p in EVERYTHING if p.stem in vague])
    promise = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b")
    lines = [(p, i, text) for p in EVERYTHING for i, text in enumerate(p.read_text("utf-8").splitlines(), 1)]
    expect_none([place(p, i) for p, i, text in lines if promise.search(text)])


def is_declaration(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A body of `...` (a member of a Protocol, an overload), or a setter: the text is elsewhere."""
    bare = all(isinstance(n, ast.Expr) and ast.unparse(n) == "..." for n in node.body)
    return bare or any(ast.unparse(decorator).endswith(".setter") for decorator in node.decorator_list)


def undocumented(path: Path) -> list[str]:
    """Public functions, classes and methods of a file without a docstring, and the file itself."""
    missing = [] if ast.get_docstring(tree(path)) else [place(path, 1)]
    stack: list[ast.AST] = [tree(path)]
    while stack:
        for node in ast.iter_child_nodes(stack.pop()):
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[0] != "_"
            ):
                if not ast.get_docstring(node) and not is_declaration(node):
                    missing.append(f"{place(path, node.lineno)} {node.name}")
                if isinstance(node, ast.ClassDef):
                    stack.append(node)
    return missing


def test_public_names_have_docstrings() -> None:
    expect_none([name for path in EVERYTHING for name in undocumented(path)])


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_refuses_to_be_imported_by_its_bare_name(folder: str) -> None:
    """Started in the repository root, `import modeling` would make a second copy of every class."""
    run = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"ImportError: import msformers.{folder}" in run.stderr
