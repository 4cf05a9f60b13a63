"""The consensus benchmark on proposals that agree with each other more than with the truth."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from msformers.inference.generation.consensus_calibration import FILE, ConsensusCalibration

pytest.importorskip("matchms", reason='needs pip install "msformers[bench]"')
CHAINS = ["C" * length for length in range(2, 42)]


class Race:
    """Forty spectra a fold; nine proposals in ten are alcohols, half of the true molecules are."""

    def __init__(self, args: Any) -> None:
        self.spectra = len(CHAINS)
        true = [chain + ("O" if place % 2 else "Cl") for place, chain in enumerate(CHAINS)]
        rows = {"smiles_2d": true, "inchikey14": [f"{args.fold}{place}" for place in range(self.spectra)]}
        self.table = SimpleNamespace(rows=rows)

    def run(self, method: str) -> list[Any]:
        """The odd one out comes first; one spectrum has no proposals."""
        lists = [[f"{chain}#N", *([f"{chain}CO"] * 9)] for chain in CHAINS]
        lists[3] = []
        return [SimpleNamespace(smiles=row) for row in lists]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the benchmark with these further options; the rows of its two tables."""
    import denovo_consensus

    monkeypatch.setattr(denovo_consensus, "Race", Race)

    def start(*more: str) -> list[list[dict[str, str]]]:
        folders = ["--plots", str(tmp_path / "plots"), "--output", str(tmp_path / "found")]
        denovo_consensus.main(["--data", str(tmp_path), *folders, *more])
        tables = []
        for name in ("found.csv", "found_orders.csv"):
            with (tmp_path / name).open(encoding="utf-8") as stream:
                tables.append(list(csv.DictReader(stream)))
        return tables

    return start


def test_overconfident_agreement_is_corrected_and_kept(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    found, _ = run("--save", str(checkpoint))
    # of twenty alcohols and twenty halides, one alcohol has no proposals
    hydroxyl, halogen, mean = found
    assert (hydroxyl["substructure"], hydroxyl["occurrences"], hydroxyl["spectra"]) == (
        "hydroxyl",
        "19",
        "39",
    )
    assert float(hydroxyl["ece"]) == pytest.approx(0.9 - 19 / 39, abs=1e-3)
    assert float(halogen["ece"]) == pytest.approx(20 / 39, abs=1e-3)
    assert float(hydroxyl["ece_calibrated"]) < 0.01 and float(halogen["ece_calibrated"]) < 0.01
    assert float(hydroxyl["brier_calibrated"]) < float(hydroxyl["brier"])
    assert mean["substructure"] == "mean of 2"
    assert float(mean["ece"]) == pytest.approx((float(hydroxyl["ece"]) + float(halogen["ece"])) / 2, abs=1e-4)
    kept = ConsensusCalibration.read(checkpoint / FILE)
    assert {table.name for table in kept.substructures} == {"hydroxyl", "halogen"}
    assert kept.substructures[0].probability(0.9) == pytest.approx(19 / 39)
    assert (tmp_path / "plots" / "denovo_consensus.png").is_file()


def test_orders_by_agreement_put_the_odd_one_last(run: Any) -> None:
    _, orders = run()
    first = {row["order"]: float(row["max_tanimoto_at_1"]) for row in orders}
    assert first["agreement of substructures"] == first["agreement of atoms"] != first["search"]
    assert len({row["max_tanimoto_at_10"] for row in orders}) == 1, "an order loses no molecule"
    assert {row["spectra"] for row in orders} == {"40"}
    assert not np.isnan(list(first.values())).any()


def test_the_checkpoint_to_save_into_must_exist(run: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere is no folder"):
        run("--save", str(tmp_path / "nowhere"))
