"""Known molecules, by reference spectra or by fingerprint: the nearest of them is a condition of the decoder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...spectra.molecules import MoleculeRecord
from ...spectra.spectrum import Problem, Spectrum
from ..encode import embed_spectra
from ..retrieval.search import normalize
from .library_records import encoder_identity, encoder_of, left_out, morgan_bits, with_molecules
from .library_search import best_per_group

logger = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
FORMAT, FORMAT_VERSION = "msformers-spectrum-library", 1
# names that may lie beside those of a checkpoint, in one folder
MANIFEST, EMBEDDINGS, SPECTRA = "library.json", "library.safetensors", "library.parquet"
TENSOR = "embeddings"
MORGAN = "morgan"
COLUMNS = ("smiles", "inchikey14", "native_id")
BLOCK_SCORES = 1 << 25
READ_AHEAD = 4096


class LibraryError(ValueError):
    """A spectrum library that cannot be built, read or searched with this model; says what to do."""


class Matches(NamedTuple):
    """The nearest molecules of B spectra, best first.

    Attributes:
        indices: (B, k) int64, row of the nearest spectrum of each molecule; −1 where the library has no more.
        similarities: (B, k) float32, cosine of the embeddings; NaN where there is none.
        smiles: per spectrum the canonical SMILES, at most k.
    """

    indices: npt.NDArray[np.int64]
    similarities: Floats
    smiles: list[list[str]]


class SpectrumLibrary:
    """Unit embeddings of reference spectra beside their molecules, sorted by molecule.

    Made by `build`, opened by `load`. A library that `of_molecules` made holds the fingerprints of molecules in their
    place, to be searched with the fingerprint that an encoder predicts.

    Args:
        embeddings: (n, D), of any length; they are normalised.
        smiles: canonical, (n,). inchikey14: first blocks, (n,). native_id: of the spectra, (n,).
        model: name and weights_sha256 of the encoder; name `MORGAN` and no weights for fingerprints.

    Raises:
        LibraryError: no spectrum, or lengths that differ.

    Attributes:
        problems: records that `build` left out.
    """

    def __init__(
        self,
        embeddings: npt.ArrayLike,
        smiles: Sequence[str],
        inchikey14: Sequence[str],
        native_id: Sequence[str],
        model: dict[str, str],
    ) -> None:
        vectors = normalize(np.asarray(embeddings, dtype=np.float32))
        sizes = {len(vectors), len(smiles), len(inchikey14), len(native_id)}
        if sizes == {0} or len(sizes) > 1:
            raise LibraryError(
                f"{len(vectors)} embeddings, {len(smiles)} molecules, {len(native_id)} ids; give at least one spectrum "
                "with a SMILES, and one of each per spectrum"
            )
        order = np.argsort(np.array(inchikey14), kind="stable")
        self.embeddings: Floats = vectors[order]
        self.smiles, self.inchikey14, self.native_id = (
            [values[row] for row in order] for values in (smiles, inchikey14, native_id)
        )
        self.model = model
        self.problems: list[Problem] = []
        # rows of one molecule are neighbours: where each begins, and which one a row belongs to
        keys = np.array(self.inchikey14)
        self._starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        self._molecule = {key: place for place, key in enumerate(keys[self._starts].tolist())}
        self._row = {name: row for row, name in enumerate(self.native_id) if name}

    @classmethod
    def build(
        cls, spectra: Iterable[Any], model: Any, processor: Any, batch_size: int = 64
    ) -> SpectrumLibrary:
        """Embed reference spectra.

        Args:
            spectra: with a SMILES each, as `annotate` takes them; native ids should differ if a spectrum is ever to be kept
                from finding itself.
            model: a spectrum-to-molecule model, whose encoder is used, or any model that embeds spectra.
            processor: its feature extractor.
            batch_size: spectra per forward pass.

        Raises:
            LibraryError: no spectrum is left.
        """
        encoder, stream = encoder_of(model), iter(spectra)
        kept: list[tuple[Spectrum, MoleculeRecord]] = []
        vectors: list[Floats] = []
        problems: list[Problem] = []
        count = 0
        while records := list(islice(stream, READ_AHEAD)):
            good, bad = with_molecules(records, count)
            count += len(records)
            found, failed = embed_spectra([item for item, _ in good], encoder, processor, batch_size)
            problems += bad + [left_out(good[row][0], "peaks", "", why) for row, why in failed.items()]
            rows = [row for row in range(len(good)) if row not in failed]
            kept += [good[row] for row in rows]
            vectors += [found[rows]] if rows else []
        if not kept:
            first = f"; the first: {problems[0]}" if problems else ""
            raise LibraryError(f"none of {count} spectra can be in a library{first}")
        molecules = [molecule for _, molecule in kept]
        library = cls(
            np.concatenate(vectors),
            [molecule.smiles for molecule in molecules],
            [molecule.inchikey14 for molecule in molecules],
            [spectrum.native_id for spectrum, _ in kept],
            encoder_identity(encoder),
        )
        library.problems = problems
        if problems:
            logger.warning("%d of %d spectra left out; the first: %s", len(problems), count, problems[0])
        return library

    @classmethod
    def of_molecules(cls, smiles: Iterable[str], bits: int = 2048) -> SpectrumLibrary:
        """Morgan fingerprints (radius 2) of molecules, one per first InChIKey block; what is no molecule is left out.

        Raises:
            LibraryError: no molecule is left.
        """
        records = (Spectrum(np.ones(1), np.ones(1, np.float32), smiles=text) for text in smiles)
        good, problems = with_molecules(list(records), 0)
        molecules = {molecule.inchikey14: molecule.smiles for _, molecule in good}
        texts = list(molecules.values())
        library = cls(
            morgan_bits(texts, bits),
            texts,
            list(molecules),
            [""] * len(texts),
            {"name": MORGAN, "weights_sha256": ""},
        )
        library.problems = problems
        return library

    @property
    def of_fingerprints(self) -> bool:
        """Whether it holds molecules' fingerprints and not spectra."""
        return self.model["name"] == MORGAN

    def __len__(self) -> int:
        return len(self.smiles)

    def __repr__(self) -> str:
        return f"SpectrumLibrary({len(self)} spectra of {len(self._starts)} molecules, encoder {self.model['name']!r})"

    def nearest(
        self,
        embeddings: npt.ArrayLike,
        k: int = 1,
        *,
        exclude: Sequence[str | None] | None = None,
        exclude_spectrum: Sequence[str | None] | None = None,
    ) -> Matches:
        """The k nearest molecules of each spectrum, each by its nearest reference spectrum.

        Args:
            embeddings: (B, D), of any length.
            k: at least 1.
            exclude: per spectrum the first InChIKey block of a molecule not to be found (its own, in training and
                evaluation); None: none.
            exclude_spectrum: per spectrum the native id of a reference not to be found (itself); None: none.

        Raises:
            LibraryError: another width than the library's, k below 1, or not one exclusion per spectrum.
        """
        queries = normalize(np.atleast_2d(np.asarray(embeddings, dtype=np.float32)))
        own = list(exclude) if exclude is not None else [None] * len(queries)
        itself = list(exclude_spectrum) if exclude_spectrum is not None else [None] * len(queries)
        if queries.shape[1] != self.embeddings.shape[1]:
            raise LibraryError(
                f"embeddings have {queries.shape[1]} dimensions, the library {self.embeddings.shape[1]}; build it with this model"
            )
        if k < 1 or not len(queries) == len(own) == len(itself):
            raise LibraryError(
                f"k {k}, {len(queries)} spectra, {len(own)} and {len(itself)} exclusions; give k of at least 1 and one "
                "exclusion per spectrum"
            )
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        similarities = np.full((len(queries), k), np.nan, dtype=np.float32)
        step = max(1, BLOCK_SCORES // len(self))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores = queries[part] @ self.embeddings.T
            for row, (molecule, name) in enumerate(zip(own[part], itself[part], strict=True)):
                self._hide(scores[row], molecule, name)
            indices[part], similarities[part] = best_per_group(scores, self._starts, k)
        smiles = [[self.smiles[place] for place in row if place >= 0] for row in indices.tolist()]
        return Matches(indices, similarities, smiles)

    def _hide(self, scores: Floats, inchikey14: str | None, native_id: str | None) -> None:
        """Set the scores (n,) of what must not be found to −∞."""
        if native_id in self._row:
            scores[self._row[native_id]] = -np.inf
        if inchikey14 in self._molecule:
            place = self._molecule[inchikey14]
            last = self._starts[place + 1] if place + 1 < len(self._starts) else len(scores)
            scores[self._starts[place] : last] = -np.inf

    def check_model(self, model: Any) -> None:
        """Refuse an encoder other than the one of the library.

        Raises:
            LibraryError: its weights differ, or it predicts no such fingerprint.
        """
        if self.of_fingerprints:
            size = getattr(model.config, "fingerprint_size", 0)
            if size != self.embeddings.shape[1] or not getattr(model.config, "encoder_fingerprint", False):
                raise LibraryError(
                    f"the library holds fingerprints of {self.embeddings.shape[1]} bits, the model predicts {size or 'none'}; build it for this "
                    "model, of spectra or with its number of bits"
                )
            return
        now = encoder_identity(encoder_of(model))
        if now["weights_sha256"] != self.model["weights_sha256"]:
            raise LibraryError(
                f"the library was built with {self.model['name']!r} (weights {self.model['weights_sha256'][:12]}), the model "
                f"in use is {now['name']!r} ({now['weights_sha256'][:12]}); build the library with this model"
            )

    def save(self, folder: str | Path) -> None:
        """Write manifest, molecules and embeddings (float16) into a folder, made if missing; fingerprints are made anew."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not self.of_fingerprints:
            save_file({TENSOR: self.embeddings.astype(np.float16)}, folder / EMBEDDINGS)
        columns = {name: getattr(self, name) for name in COLUMNS}
        pq.write_table(pa.table(columns), folder / SPECTRA, compression="zstd")
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": self.model}
        manifest |= {"spectra": len(self), "molecules": len(self._starts), "dim": self.embeddings.shape[1]}
        # last, so that a folder with a manifest is whole
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> SpectrumLibrary:
        """Open a library that `save` wrote.

        Raises:
            LibraryError: there is none, or it is damaged or of another version.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if (manifest["format"], manifest["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise LibraryError(
                    f"{folder / MANIFEST}: {manifest['format']} {manifest['format_version']}, this msformers reads {FORMAT} "
                    f"{FORMAT_VERSION}; build the library again"
                )
            table = pq.read_table(folder / SPECTRA, columns=list(COLUMNS))
            smiles, inchikey14, native_id = (table[name].to_pylist() for name in COLUMNS)
            if manifest["model"]["name"] == MORGAN:
                vectors: Any = morgan_bits(smiles, manifest["dim"])
            else:
                vectors = load_file(folder / EMBEDDINGS)[TENSOR]
            return cls(vectors, smiles, inchikey14, native_id, manifest["model"])
        except (
            OSError,
            KeyError,
            TypeError,
            SafetensorError,
            json.JSONDecodeError,
            pa.ArrowInvalid,
        ) as error:
            raise LibraryError(
                f"{folder}: is no spectrum library ({error}); give a folder that SpectrumLibrary.save wrote"
            ) from error
