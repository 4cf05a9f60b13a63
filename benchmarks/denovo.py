r"""De novo molecules of the test fold (Unknown): our checkpoint beside what needs no model, and beside itself without a spectrum.

    python benchmarks/denovo.py --data ../shared/data --fold val --n-spectra 405 --methods same-mass nearest
    python benchmarks/denovo.py --data ../shared/data --fold test --model denovo-small --reranker nexamass-small

Figures per method: mean of the largest Tanimoto similarity (Morgan, radius 2, 2048 bits) to the true molecule among the
first 1, 10 and 100, share of exact matches among them, validity and uniqueness of the sequences, share of molecules
within 10 ppm of the precursor's neutral mass. With the mass filter validity and that share are near 1 by construction:
sequences that it leads to a dead end are left out before they are counted. Choose on val; test is for the end. With --n-spectra, so few spectra of each
molecule as that number allows are drawn. Proposals are kept in --work, so that an interrupted run goes on.

Methods: "same-mass" random training molecules within 10 ppm · "random-selfies" strings of random tokens by their frequency,
"random-selfies-mass" those of the right mass · "frequent" the molecules with the most training spectra · "nearest" those
of the nearest training spectra by modified cosine, "nearest-open" among open licences · "ranked-same-mass" all training
molecules within 10 ppm, by the re-ranker · "model", and "no-spectrum" the model that is told the mass alone.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from data import SpectrumTable, at_most_per_molecule, load_spectra_table  # noqa: E402
from denovo_baselines import (  # noqa: E402
    NearestSpectra,
    Proposals,
    RandomSelfies,
    frequent_molecules,
    same_mass,
    training_molecules,
)
from denovo_models import GeneratedMethods  # noqa: E402
from denovo_plot import plot_similarity  # noqa: E402
from neighbours import claim  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers.inference.retrieval.precursor import read_precursor  # noqa: E402
from msformers.metrics.generation import KS, generation_scores  # noqa: E402
from msformers.metrics.retrieval import bootstrap_interval  # noqa: E402
from msformers.spectra.spectrum import Spectrum  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
WITHOUT_MODEL = ("same-mass", "random-selfies", "random-selfies-mass", "frequent", "nearest", "nearest-open")
COLUMNS = ("accession", "ion_mode", "charge", "collision_energy_ev", "ms_level")
CHUNK = 200
RANDOM_STRINGS = 60_000


def queries(data: Path, fold: str, count: int | None, seed: int) -> SpectrumTable:
    """Spectra of a fold, of all licences; `count` of them from as many molecules as possible, drawn with `seed`."""
    table = load_spectra_table(data, [fold], "all", extra_columns=COLUMNS)
    if count is None or count >= len(table):
        return table
    each = ceil(count / len(set(table.rows["inchikey14"])))
    few = np.array(at_most_per_molecule(table, each, seed))
    return table.select(sorted(np.random.default_rng(seed).permutation(few)[:count].tolist()))


def spectrum_of(table: SpectrumTable, place: int) -> Spectrum:
    """One row of `queries` as inference takes it."""
    (mz, intensity), rows = table.peaks[place], {name: values[place] for name, values in table.rows.items()}
    return Spectrum(
        mz=mz,
        intensity=intensity.astype(np.float32),
        precursor_mz=float(table.precursor_mz[place]),
        charge=rows["charge"],
        adduct=rows["adduct"],
        ion_mode=rows["ion_mode"],
        collision_energy=rows["collision_energy_ev"],
        ms_level=rows["ms_level"],
        instrument_type=rows["instrument_type"],
        index=place,
        native_id=rows["accession"],
    )


class Race:
    """Every method on the same spectra; what several of them need is made once, and only if it is needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.table = queries(args.data, args.fold, args.n_spectra, args.seed)
        self.spectra = [spectrum_of(self.table, place) for place in range(len(self.table))]
        self.folder = args.work / f"{args.fold}-{args.n_spectra or 'all'}-{args.seed}"
        self.models = GeneratedMethods(args)

    @cached_property
    def _pool(self) -> Any:
        return training_molecules(self.args.data)

    @cached_property
    def _random(self) -> RandomSelfies:
        return RandomSelfies.draw(self._pool.smiles, RANDOM_STRINGS, self.args.seed)

    @cached_property
    def _frequent(self) -> Proposals:
        return frequent_molecules(self.args.data, self.args.count)

    @cached_property
    def _nearest(self) -> NearestSpectra:
        return NearestSpectra(self.args.data)

    def propose(self, method: str, places: range) -> Iterator[Proposals]:
        """The proposals of a method for some of the spectra."""
        count, seed, first = self.args.count, self.args.seed, places.start
        spectra = [self.spectra[place] for place in places]
        if method == "same-mass":
            return same_mass(self._pool, spectra, count, seed, first)
        if method == "random-selfies":
            return self._random.any_mass(spectra, count, first)
        if method == "random-selfies-mass":
            return self._random.of_the_mass(spectra, count, seed, first)
        if method == "frequent":
            return iter([self._frequent] * len(spectra))
        if method in ("nearest", "nearest-open"):
            return self._nearest(self.table.select(places), count, method == "nearest-open")
        if method == "ranked-same-mass":
            return self.models.ranked_same_mass(self._pool, spectra, count)
        return self.models.generated(spectra, method == "model")

    def run(self, method: str) -> list[Proposals]:
        """All proposals of a method, from its folder where they are there already."""
        folder = self.folder / self._name(method)
        claim(folder, self._made_from(method), write=True)
        starts = range(0, len(self.spectra), CHUNK)
        for start in tqdm(starts, desc=method, unit=f"{CHUNK} spectra"):
            path = folder / f"{start:06d}.parquet"
            if path.is_file():
                continue
            places = range(start, min(start + CHUNK, len(self.spectra)))
            found = list(self.propose(method, places))
            columns = {name: [getattr(row, name) for row in found] for name in Proposals.__dataclass_fields__}
            pq.write_table(pa.table(columns), path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        rows = [row for start in starts for row in pq.read_table(folder / f"{start:06d}.parquet").to_pylist()]
        return [Proposals(**row) for row in rows]

    def _name(self, method: str) -> str:
        return method if method in WITHOUT_MODEL else f"{method}-{self.models.label(method)}"

    def _made_from(self, method: str) -> dict[str, Any]:
        made = {"method": method, "spectra": len(self.spectra), "count": self.args.count}
        return made if method in WITHOUT_MODEL else made | self.models.made_from(method)

    def answers(self, method: str) -> dict[str, list[Proposals]]:
        """The proposals by the name they are reported under; those of a model once for every order asked for."""
        found = self.run(method)
        if method not in ("model", "no-spectrum"):
            return {method: found}
        truth, folder = self.table.rows["smiles_2d"], self.folder / self._name(method)
        return self.models.orders(method, self.spectra, found, truth, folder)


def figures(method: str, race: Race, found: Sequence[Proposals]) -> list[dict[str, Any]]:
    """One row per group of instruments: all, accurate mass (FT, TOF), unit resolution."""
    rows, truth = [], race.table.rows["smiles_2d"]
    accurate = np.array(
        ["FT" in str(name) or "TOF" in str(name) for name in race.table.rows["instrument_type"]]
    )
    masses = [
        [ion.adduct.neutral_mass(float(spectrum.precursor_mz)) for ion in read_precursor(spectrum).ions]
        for spectrum in race.spectra
    ]
    for group, mask in (("all", accurate | True), ("accurate", accurate), ("unit", ~accurate)):
        chosen = np.flatnonzero(mask).tolist()
        if not chosen:
            continue
        part = [found[place] for place in chosen]
        keys = [race.table.rows["inchikey14"][place] for place in chosen]
        scores = generation_scores(
            [truth[place] for place in chosen], [p.smiles for p in part], [masses[place] for place in chosen]
        )
        row: dict[str, Any] = {"method": method, "fold": race.args.fold, "instruments": group}
        row |= {"spectra": len(chosen), "molecules": len(set(keys))}
        row |= scores.summary() | _sequences(part)
        for k in KS:
            spread = bootstrap_interval(
                scores.tanimoto[:, scores.ks.index(k)], confidence=0.95, resamples=2000, groups=keys
            )
            row |= {f"tanimoto_{k}_low": spread.low, f"tanimoto_{k}_high": spread.high}
        rows.append({name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()})
    return rows


def _sequences(found: Sequence[Proposals]) -> dict[str, float]:
    """Validity and uniqueness of what was generated; the lists themselves hold distinct molecules only."""
    drawn, invalid, twice = (
        sum(getattr(p, name) for p in found) for name in ("n_sequences", "n_invalid", "n_duplicates")
    )
    valid = drawn - invalid
    return {
        "validity": valid / drawn if drawn else float("nan"),
        "uniqueness": (valid - twice) / valid if valid else float("nan"),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--data", type=Path, required=True)
    add("--fold", choices=("val", "test"), default="val")
    add("--n-spectra", type=int, help="so many spectra, of as many molecules as possible; all without")
    add(
        "--methods",
        nargs="+",
        help="by default all without a model, and those that --model or --reranker allow",
    )
    add("--model", help="checkpoint of a spectrum-to-molecule model")
    add("--reranker", help="retrieval checkpoint that orders the molecules")
    add("--weight", type=float, help="of the beam score beside the re-ranker's; on val it is fitted without")
    add(
        "--library",
        type=Path,
        help="spectrum library whose match the model is told, if it is not the one beside the model",
    )
    add("--beams", type=int, default=100)
    add("--strategy", choices=("beam", "sample", "diverse"), default="beam")
    add("--no-mass-filter", action="store_true", help="do not hold growing molecules to the mass")
    add(
        "--ppm",
        type=float,
        default=10.0,
        help="tolerance of the mass filter; unit-resolution precursors are often off by more",
    )
    add("--count", type=int, default=100, help="molecules per spectrum at most")
    add("--batch-size", type=int, default=4, help="spectra generated at a time")
    add("--device", default="auto")
    add("--seed", type=int, default=0)
    add("--work", type=Path, default=ROOT / "runs" / "denovo", help="folder for the proposals")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "denovo")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    args = parser().parse_args(argv)
    methods = args.methods or [
        *WITHOUT_MODEL,
        *(["ranked-same-mass"] if args.reranker else []),
        *(["no-spectrum", "model"] if args.model else []),
    ]
    race = Race(args)
    logger.info("%d spectra of %d molecules", len(race.table), len(set(race.table.rows["inchikey14"])))
    rows: list[dict[str, Any]] = []
    for method in methods:
        for name, found in race.answers(method).items():
            of_method = figures(name, race, found)
            logger.info("%s", of_method[0])
            rows += of_method
            write_figures(args.output, rows)
    plot_similarity(rows, args.plots / f"denovo_{args.fold}.png")


if __name__ == "__main__":
    main()
