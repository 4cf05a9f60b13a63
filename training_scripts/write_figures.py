"""Write the figures of the benchmarks between the markers of README.md and of the checkpoints' cards.

python training_scripts/write_figures.py        # after the benchmarks
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CARDS = tuple(ROOT / "hub_cards" / name / "README.md" for name in ("specbridge-small", "nexamass-small"))
TARGETS = (ROOT / "README.md", *CARDS, ROOT / "hub_cards" / "denovo-small" / "README.md")
DENOVO = {
    "same-mass": "random training molecule of the same mass",
    "random-selfies": "random SELFIES by token frequency",
    "random-selfies-mass": "random SELFIES of the same mass",
    "frequent": "most frequent training molecules",
    "nearest": "nearest training spectrum, modified cosine",
    "nearest-open": "nearest training spectrum, modified cosine, open licences",
    "ranked-same-mass": "all training molecules of the mass, ranked by specbridge-small",
    "no-spectrum": "denovo-small without the spectrum",
    "model": "denovo-small",
}
"""Methods of `benchmarks/denovo.py` in words; behind a comma follows their order."""
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


def rows_of(name: str) -> list[dict[str, str]]:
    """A table of benchmarks/results."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def encoder_table() -> str:
    """All encoders: size, speed, neighbours."""
    lines = [
        "| encoder | parameters | spectra/s | Known: R@1 | Tanimoto | Unknown: R@1 | Tanimoto |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = (
        *("known_recall_at_1", "known_tanimoto_at_1"),
        *("unknown_recall_at_1", "unknown_tanimoto_at_1"),
    )
    for row in rows_of("embedding"):
        cells = [f"{float(row[key]):.3f}" if row[key] else "" for key in keys]
        size = f"{int(row['parameters']) / 1e6:.1f} M" if int(row["parameters"]) else ""
        speed = f"{float(row['spectra_per_s']):,.0f}"
        lines.append(f"| {row['encoder']} | {size} | {speed} | {' | '.join(cells)} |")
    note = (
        "Nearest neighbour by cosine among the training fold (at most four spectra of a molecule), no precursor filter. Known: spectra "
        "of molecules that are there. Unknown: of molecules that are not; R@1 among these and the spectra of the fold, Tanimoto "
        "of the nearest training molecule. One thread of a CPU, preparation included. `python benchmarks/embedding.py --data ../shared/data`"
    )
    return "\n".join([*lines, "", note])


def confidence_table(checkpoint: str) -> str:
    """What the confidence of a checkpoint is worth, both protocols."""
    lines = [
        "| lists | 90 % sets hold the truth | median set | error | error of the surer half | AURC |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows_of("confidence"):
        if row["checkpoint"] == checkpoint and row["group"] == "all":
            cells = [f"{100 * float(row['set_coverage']):.1f} %", f"{float(row['median_set_size']):.0f}"]
            cells += [f"{float(row[key]):.3f}" for key in ("error", "error_at_50", "aurc")]
            lines.append(f"| {row['protocol']} | {' | '.join(cells)} |")
    note = "Test fold, lists of at least two. `python benchmarks/confidence.py --data ../shared/data --models nexamass-small specbridge-small`"
    return "\n".join([*lines, "", note])


def denovo_table() -> str:
    """Generated molecules beside what needs no model, a method a row."""
    lines = [
        "| | Tanimoto of the best of 1 | 10 | 100 | exact at 1 | 10 | 100 | valid | distinct | within 10 ppm |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    chosen = [row for row in rows_of("denovo") if row["instruments"] == "all"]
    for row in chosen:
        name, _, order = row["method"].partition(", ")
        cells = [
            f"{float(row['max_tanimoto_at_1']):.3f} ({float(row['tanimoto_1_low']):.2f}–{float(row['tanimoto_1_high']):.2f})"
        ]
        cells += [f"{float(row[f'max_tanimoto_at_{k}']):.3f}" for k in (10, 100)]
        shares = (*(f"exact_match_at_{k}" for k in (1, 10, 100)), "validity", "uniqueness", "within_ppm")
        cells += ["" if row[key] in ("", "nan") else f"{100 * float(row[key]):.1f} %" for key in shares]
        lines.append(f"| {DENOVO[name]}{f' ({order})' if order else ''} | {' | '.join(cells)} |")
    said = f"{chosen[0]['spectra']} spectra of {chosen[0]['molecules']} molecules"
    note = (
        f"Test fold of MassBank, {said} that nothing here was trained on, one spectrum each. Mean over spectra of the largest Tanimoto similarity to the "
        "truth (Morgan, radius 2, 2048 bits) among the first 1, 10, 100 (95 % interval over molecules); share with the molecule itself "
        "among them; valid and distinct of the sequences written. In brackets the order: of the beams, by mass error, or learned: "
        "`specbridge-small` with the search's score at the weight fitted on val. "
        "`python benchmarks/denovo.py --data ../shared/data --fold test --n-spectra 100 --model denovo-small --reranker specbridge-small --weight 0.3`"
    )
    return "\n".join([*lines, "", note])


def marked(text: str, name: str, content: str) -> str:
    """The text with `content` between the markers called `name`; unchanged without them."""
    pattern = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    return pattern.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text)


def main() -> None:
    """Write the tables into each target."""
    for path in TARGETS:
        text = marked(path.read_text(encoding="utf-8"), "figures", table())
        text = marked(text, "encoders", encoder_table())
        text = marked(text, "denovo", denovo_table())
        if path in CARDS:
            text = marked(text, "confidence", confidence_table(path.parent.name))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
