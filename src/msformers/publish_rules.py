"""What may be published: files that hold data and nothing that runs, no path of somebody's computer, no token."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

TEXT = frozenset(
    [
        ".json",
        ".jsonl",
        ".md",
        ".txt",
        ".csv",
        ".tsv",
        ".yaml",
        ".yml",
        ".jinja",
        ".svg",
        ".cff",
        ".model-index",
        ".gitattributes",
    ]
)
TEXT_NAMES = frozenset({"LICENSE", "LICENCE", "NOTICE", ".gitattributes"})
BINARY = {".parquet": b"PAR1", ".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
TENSORS = ".safetensors"
PICKLED = frozenset(
    [
        ".bin",
        ".pt",
        ".pth",
        ".ckpt",
        ".pkl",
        ".pickle",
        ".p",
        ".joblib",
        ".dill",
        ".npy",
        ".npz",
        ".h5",
        ".hdf5",
        ".keras",
        ".msgpack",
        ".t7",
    ]
)
CODE = frozenset(
    [
        ".py",
        ".pyc",
        ".pyx",
        ".so",
        ".pyd",
        ".dll",
        ".dylib",
        ".sh",
        ".bat",
        ".ps1",
        ".js",
        ".mjs",
        ".ipynb",
        ".exe",
        ".jar",
        ".r",
        ".jl",
        ".whl",
    ]
)
CARD = "README.md"
ADAPTER = "adapter_config.json"

# secrets of the Hub, wherever they stand
TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}")
# the whole of a value is a path; SMILES such as /C=C/C and ids such as owner/name are none
LOCAL_PATH = re.compile(
    r"(?:file://|~[/\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|/(?:[\w.@+ -]+/)+[\w.@+ -]*$|/(?:tmp|home|root)$)"
)
# a home folder within longer text
HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)[\w.-]+")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# vocabularies are long, and hold pieces of anything
VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json"})
MAX_SCANNED = 64 << 20


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a folder is not published: file, what is wrong with it (line or field and value), what to do."""

    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; {self.remedy}"


def check_file(path: Path, name: str) -> Iterator[Refused]:
    """What is wrong with one file, going by its ending and by its content.

    Args:
        path: the file.
        name: its path in the repository.
    """
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        remedy = "remove it, or save its tensors with save_pretrained (safetensors)"
        yield Refused(name, f"{suffix} files can hold pickled objects, which run code when loaded", remedy)
    elif suffix in CODE:
        if not (suffix == ".py" and _digest(path) in _own_modules()):
            remedy = "remove it; only unchanged modules of msformers may go along"
            yield Refused(name, "is code that is not part of this msformers", remedy)
    elif suffix == TENSORS:
        yield from _check_tensors(path, name)
    elif suffix in BINARY:
        with path.open("rb") as stream:
            if stream.read(8)[: len(BINARY[suffix])] != BINARY[suffix]:
                yield Refused(name, f"is no {suffix} file, whatever its name", "write it again, or remove it")
    elif suffix in TEXT or path.name in TEXT_NAMES:
        yield from _check_text(path, name)
    else:
        kinds = f"safetensors, Parquet, pictures and text ({', '.join(sorted(TEXT))})"
        yield Refused(name, f"is of no kind that is published: {kinds}", "remove it from the folder")


def _check_tensors(path: Path, name: str) -> Iterator[Refused]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        yield Refused(name, f"is no complete safetensors file ({error})", "save it again")


def _check_text(path: Path, name: str) -> Iterator[Refused]:
    if path.stat().st_size > MAX_SCANNED:
        yield Refused(name, f"{path.stat().st_size} bytes of text", "publish tables as Parquet")
        return
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        yield Refused(name, f"is not text (byte {error.start})", "write it as UTF-8, or remove it")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if TOKEN.search(line):
            yield Refused(name, f"line {number} holds an access token", "remove it, and revoke the token")
        found = HOME.search(line)
        if found and path.suffix not in (".md", ".json"):
            yield Refused(
                name, f"line {number} names a local path, {found[0]!r}", "shorten it to the file name"
            )
    if path.suffix == ".json" and path.name not in VOCABULARIES:
        yield from check_json(text, name)


def check_json(text: str, name: str) -> Iterator[Refused]:
    """Local paths in the values of a JSON file, and code it would fetch from elsewhere."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        yield Refused(name, f"is no JSON: {error}", "write it again")
        return
    for field, value in _strings(content, ""):
        if field == "base_model_name_or_path":
            continue  # judged by check_adapter
        if LOCAL_PATH.match(value) or HOME.search(value):
            remedy = "name a Hub id, a file of the repository, or nothing"
            yield Refused(name, f"{field} = {value!r} is a path on this computer", remedy)
        elif "--" in value and field.split(".")[0] in ("auto_map", "custom_pipelines"):
            remedy = "remove the entry; what is published names no code of other repositories"
            yield Refused(name, f"{field} = {value!r} is code of another repository", remedy)


def _strings(content: Any, field: str) -> Iterator[tuple[str, str]]:
    """Every string of a JSON value with the field it stands in, such as "encoder.name" or "sources.0.path"."""
    if isinstance(content, str):
        yield field, content
    elif isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from _strings(value, f"{field}.{key}" if field else str(key))


def check_card(folder: Path) -> Iterator[Refused]:
    """The card of a folder: there, with a head of YAML that states a licence and no local path."""
    from huggingface_hub import metadata_load

    head = "---\nlicense: apache-2.0\n---"
    write = (
        f"write one that begins with {head!r} and says what this is, what it was made from, and its limits"
    )
    path = folder / CARD
    if not path.is_file():
        yield Refused(CARD, "is missing: nothing is published without a card", write)
        return
    try:
        data = metadata_load(path)
    except Exception as error:  # whatever the YAML parser raises; it has no base class of Python's
        yield Refused(CARD, f"its head is no YAML: {' '.join(str(error).split())}", "correct it")
        return
    if data is None:
        yield Refused(CARD, "has no head of YAML between two lines of ---, so states no licence", write)
        return
    licence = data.get("license")
    if not licence:
        yield Refused(CARD, "states no licence", "add license: … to its head (an SPDX name in small letters)")
    for field, value in _strings(data, ""):
        if LOCAL_PATH.match(value) or HOME.search(value):
            yield Refused(CARD, f"{field} = {value!r} is a path on this computer", "name a Hub id")


def check_adapter(folder: Path) -> Iterator[Refused]:
    """An adapter's configuration: the base is a Hub id, at a stated revision."""
    try:
        config = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return  # told by check_file
    if not isinstance(config, dict):
        config = {}
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        remedy = "set it to the id of the base on the Hub, owner/name"
        yield Refused(ADAPTER, f"base_model_name_or_path = {base!r} is no Hub id", remedy)
    if not isinstance(revision, str) or not revision:
        remedy = "set it to the tag or commit of the base that the adapter was trained on"
        yield Refused(ADAPTER, f"revision = {revision!r} states no revision of the base", remedy)


@cache
def _own_modules() -> frozenset[str]:
    """Digests of the modules that a checkpoint can need."""
    packages = [import_module(f".{name}", __package__) for name in ("spectra", "tokenization", "modeling")]
    return frozenset(_digest(file) for found in packages for file in Path(found.__path__[0]).rglob("*.py"))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
