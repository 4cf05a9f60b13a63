"""What is installed is what is in the tree; the command line starts light; nothing of the shared data is in here."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from house import FOLDERS, ROOT, imports, package_files, setup_cfg

NEVER_INSTALLED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
BUNDLED_LIMIT = (
    150 * 10**6
)  # PyPI takes 100 MB unasked; with denovo-small more must be asked for, or the Hub used alone
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".csv",
    ".tsv",
    ".txt",
    ".mgf",
    ".msp",
    ".json",
    ".jsonl",
    ".yaml",
    ".yml",
    ".cfg",
    ".toml",
    ".html",
    ".smi",
}


def listed(section: str, key: str) -> list[str]:
    return [line.strip() for line in setup_cfg()[section][key].splitlines() if line.strip()]


def installed_files() -> dict[str, Path]:
    """Where every file of the package folders should lie in the wheel, and where it lies here."""
    found = {}
    for folder, name in [("src/msformers", "msformers"), *((f, f"msformers/{f}") for f in FOLDERS)]:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and not NEVER_INSTALLED & set(path.parts):
                found[f"{name}/{path.relative_to(ROOT / folder).as_posix()}"] = path
    return found


def packages_in_the_tree() -> set[str]:
    return {
        name.rpartition("/")[0].replace("/", ".")
        for name in installed_files()
        if name.endswith("/__init__.py")
    }


def test_setup_cfg_lists_the_packages_of_the_tree() -> None:
    assert sorted(packages_in_the_tree()) == sorted(listed("options", "packages"))


def test_every_package_is_mapped_to_its_folder() -> None:
    mapped = dict(line.split(" = ") for line in listed("options", "package_dir") if not line.startswith("="))
    assert set(mapped) == set(listed("options", "packages"))
    wrong = {
        package: folder for package, folder in mapped.items() if not (ROOT / folder / "__init__.py").is_file()
    }
    assert wrong == {}


def test_every_folder_with_python_is_a_package() -> None:
    folders = {
        name.rpartition("/")[0].replace("/", ".") for name in installed_files() if name.endswith(".py")
    }
    assert folders - packages_in_the_tree() == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that nothing old in `build/` gets in; no network is used."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip('no setuptools to build with; pip install "msformers[test]"')
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for folder in ("src", *FOLDERS):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*NEVER_INSTALLED, "*.egg-info")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    run = subprocess.run(build, cwd=copy, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return next(out.glob("msformers-*.whl"))


def test_the_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {*installed_files(), "msformers_cli.py"}


def test_the_wheel_has_its_licence_readme_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(names["METADATA"]).decode()
        assert "[console_scripts]\nmsformers = " in archive.read(names["entry_points.txt"]).decode()
    assert "LICENSE" in names
    assert "License-Expression: Apache-2.0" in metadata
    assert "# msformers" in metadata
    assert sum(path.stat().st_size for path in installed_files().values()) < BUNDLED_LIMIT


def test_every_imported_package_is_declared() -> None:
    """In `install_requires`, or in an extra; a distribution's name is its import name but for these."""
    names = {"huggingface-hub": "huggingface_hub", "myopic-mces": "myopic_mces"}
    extras = setup_cfg()["options.extras_require"]
    declared = [*listed("options", "install_requires"), extras["plot"], *extras["metrics"].splitlines()]
    known = {names.get(name, name) for name in (re.split(r"[<>=\[ ]", line)[0] for line in declared)}
    # pulp is part of what myopic-mces installs, and markupsafe of jinja2, by their nature
    known |= {"pulp", "markupsafe", *sys.stdlib_module_names, "msformers", "msformers_cli"}
    used = {(target.split(".")[0], path.name) for path in package_files() for _, target in imports(path)}
    assert sorted((name, file) for name, file in used if name not in known) == []


def test_the_version_is_the_same_everywhere() -> None:
    version = setup_cfg()["metadata"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "src/msformers/__init__.py").read_text("utf-8")
    assert re.search(
        rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_help_does_not_import_torch() -> None:
    """The console script, exactly as installed: every module it loads is written to stderr by `-X importtime`."""
    script = shutil.which("msformers", path=str(Path(sys.executable).parent))
    assert script is not None, "msformers is not installed beside this Python"
    command = [sys.executable, "-X", "importtime", script, "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "annotate" in run.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in run.stderr.splitlines()}
    assert "msformers" in loaded
    assert loaded & {"torch", "transformers", "rdkit", "matplotlib", "datasets"} == set()


def repository_files() -> list[Path]:
    """Tracked files, or everything where there is no git."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode == 0 and run.stdout:
        paths = [ROOT / name for name in run.stdout.split("\0") if name]
    else:
        paths = [
            *installed_files().values(),
            *(p for f in ("tests", "benchmarks", "training_scripts") for p in (ROOT / f).rglob("*")),
        ]
    return [path for path in paths if path.is_file()]


def test_no_file_of_the_shared_data_is_in_the_repository(shared: Path) -> None:
    ours: dict[int, list[Path]] = {}
    for path in repository_files():
        ours.setdefault(path.stat().st_size, []).append(path)
    theirs = [path for path in shared.rglob("*") if path.is_file() and path.stat().st_size > 0]
    pairs = [(own, other) for other in theirs for own in ours.get(other.stat().st_size, [])]
    assert [f"{own} is {other}" for own, other in pairs if digest(own) == digest(other)] == []


def digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def test_no_record_of_the_shared_data_is_in_the_repository(shared: Path) -> None:
    """Accessions and SPLASHes name one measured spectrum each; neither occurs in any text file here."""
    import pyarrow.parquet as pq

    known: set[str] = set()
    for name in ("massbank_msms.parquet", "massbank_ei.parquet"):
        for column in pq.read_table(shared / "data" / name, columns=["accession", "splash"]).columns:
            known.update(value for value in column.to_pylist() if value)
    token = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,}")
    copied = []
    for path in repository_files():
        if path.suffix in TEXT_SUFFIXES:
            text = path.read_text(encoding="utf-8", errors="replace")
            copied += [f"{path.relative_to(ROOT)}: {word}" for word in set(token.findall(text)) & known]
    assert copied == []
