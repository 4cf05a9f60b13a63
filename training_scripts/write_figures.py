"""Write the figures of the retrieval benchmark between the markers of README.md and of the checkpoints' cards.

python training_scripts/write_figures.py        # after benchmarks/retrieval.py
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CARDS = tuple(ROOT / "hub_cards" / name / "README.md" for name in ("specbridge-small", "nexamass-small"))
TARGETS = (ROOT / "README.md", *CARDS)
MARKED = re.compile(r"(<!-- figures:start -->\n).*?(<!-- figures:end -->)", re.DOTALL)
ORDER = (
    *("nexamass-small", "nexamass-small (embedding alone)", "specbridge-small"),
    *("specbridge-small (embedding alone)", "fingerprint-FFN", "DeepSets-Fourier"),
    *("no spectrum (mean query)", "SMILES style", "exact mass", "mass gate alone", "random"),
)
INTRODUCTION = """\
Recall@K on the test fold of MassBank (molecules that no training spectrum shows), one run, all spectra; `exact mass` sees only the
true mass, `no spectrum` asks with the mean of all queries, `SMILES style` sees only how a string is written. Peers are trained on the
whole train fold by the same run, ours on its open licences only. 95 % interval of R@1 over molecules; by instrument, with MRR and
MCES@1, in `benchmarks/results/retrieval.csv`.
"""
COMMAND = "`python benchmarks/retrieval.py --data ../shared/data --models specbridge-small nexamass-small`"


def table() -> str:
    """Both protocols side by side, a contender a row."""
    with (RESULTS / "retrieval.csv").open(encoding="utf-8", newline="") as stream:
        rows = {
            (r["protocol"], r["contender"]): r for r in csv.DictReader(stream) if r["instruments"] == "all"
        }
    lines = [
        "| | mass: R@1 | R@5 | R@20 | isomers: R@1 | R@5 | R@20 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ORDER:
        cells = []
        for protocol in ("mass", "isomers"):
            row = rows[protocol, name]
            low, high = (f"{float(row[key]):.2f}" for key in ("r1_low", "r1_high"))
            cells += [f"{float(row['recall_at_1']):.3f} ({low}–{high})"]
            cells += [f"{float(row[f'recall_at_{k}']):.3f}" for k in (5, 20)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    counts = [rows[protocol, "random"] for protocol in ("mass", "isomers")]
    said = [f"{r['spectra']} spectra of {r['molecules']} molecules" for r in counts]
    note = (
        f"mass: 256 candidates, those within 10 ppm of the true mass first ({said[0]}). "
        f"isomers: lists of at least 10 isomers ({said[1]}). {COMMAND}"
    )
    return "\n".join([INTRODUCTION, *lines, "", note])


def main() -> None:
    """Write the table into each target."""
    for path in TARGETS:
        text = path.read_text(encoding="utf-8")
        path.write_text(MARKED.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
