"""What the HTML report of generated molecules says of each spectrum: numbers as text, drawings, and which parts are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .agreement_plot import ConsensusBar, agreement_svg, consensus_bars
from .generation_records import Floats, GenerationLike, GenerationRecord, known_place, records_of
from .molecule_plot import DrawingError, molecule_svg
from .records import known_block
from .spectrum_plot import spectrum_svg
from .views import anchor, place_of
from .wording import number, text

ORDERS = {
    "learned": "a re-ranking model",
    "mass": "nearness to the precursor",
    "none": "the search's own score",
}


@dataclass(frozen=True, slots=True)
class MoleculeCard:
    """One drawn molecule: its row, its drawing with the agreement of its atoms, and whether the file states it."""

    row: GenerationRecord
    drawing: Markup
    known: bool


@dataclass(frozen=True, slots=True)
class GenerationView:
    """One spectrum of the report: plot, bars of the substructures, drawn molecules, and the rows of the others."""

    anchor: str
    row: GenerationRecord
    facts: list[tuple[str, str]]
    plot: Markup
    bars: Markup
    cards: list[MoleculeCard]
    more: list[GenerationRecord]
    known: str
    known_class: str
    notes: list[str]


@dataclass(slots=True)
class GenerationTally:
    """Counts of a run.

    Attributes:
        read: records of the input.
        answered: records with at least one molecule.
        molecules: all that are listed.
        by_status: records by status.
        known, first, listed: records whose file states the structure; of these, generated at rank 1, and at all.
    """

    read: int = 0
    answered: int = 0
    molecules: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    known: int = 0
    first: int = 0
    listed: int = 0

    def add(self, answer: GenerationLike) -> None:
        """Count one answer."""
        self.read += 1
        self.answered += bool(answer.molecules)
        self.molecules += len(answer.molecules)
        self.by_status[answer.status] = self.by_status.get(answer.status, 0) + 1
        if known_block(answer.spectrum) is not None:
            rank = known_place(answer)
            self.known += 1
            self.first += rank == 1
            self.listed += rank is not None


def generation_view(answer: GenerationLike, top: int) -> GenerationView:
    """Everything the report shows of one readable spectrum.

    Args:
        answer: with its spectrum.
        top: molecules to draw.
    """
    rows = [row for row in records_of(answer) if row.rank is not None]
    mark, spectrum = anchor(answer.index), answer.spectrum
    known, known_class = _known(answer)
    shades = answer.atom_agreement() if answer.n_compared > 1 and top else []
    return GenerationView(
        anchor=mark,
        row=records_of(answer)[0],
        facts=_facts(answer),
        plot=Markup(spectrum_svg(spectrum, f"{mark}-p")) if spectrum is not None else Markup(""),
        bars=_bars(answer, f"{mark}-b"),
        cards=[
            _card(row, shades[place] if shades else (), f"{mark}-m{row.rank}")
            for place, row in enumerate(rows[:top])
        ],
        more=rows[top:],
        known=known,
        known_class=known_class,
        notes=_notes(answer),
    )


def _bars(answer: GenerationLike, uid: str) -> Markup:
    """The bars of the substructures; nothing for fewer than two molecules, which cannot agree."""
    if answer.n_compared < 2 or not answer.substructures:
        return Markup("")
    bars = [
        ConsensusBar(
            *(name, share, answer.substructure_probabilities.get(name), answer.known_substructures.get(name))
        )
        for name, share in answer.substructures.items()
    ]
    return Markup(consensus_bars(bars, uid, f"Substructures of {answer.n_compared} molecules"))


def _card(row: GenerationRecord, shades: Sequence[float] | Floats, uid: str) -> MoleculeCard:
    label = f"Molecule {row.rank}, {text(row.formula or '')}"
    try:
        if len(shades):
            drawing = agreement_svg(row.smiles or "", shades, uid, f"{label}, atoms shaded by agreement")
        else:
            drawing = molecule_svg(row.smiles or "", uid, label)
    except DrawingError:
        drawing = Markup("<p class='nodrawing'>{}</p>").format(text(row.smiles or "no structure"))
    return MoleculeCard(row, Markup(drawing), row.known_match is True)


def _known(answer: GenerationLike) -> tuple[str, str]:
    """What to say of the structure the file states, and its colour class."""
    if known_block(answer.spectrum) is None:
        return "", ""
    rank = known_place(answer)
    if rank is None:
        return "structure in the file: not among the molecules", "missed"
    return f"structure in the file: rank {rank}", "hit" if rank == 1 else "lower"


def _notes(answer: GenerationLike) -> list[str]:
    """What a reader of the answer must know: what went wrong, what was repaired, and what is not shown."""
    spectrum, listed = answer.spectrum, len(answer.molecules)
    notes = [text(answer.reason, 400)] if answer.reason else []
    notes += [f"Reader: {text(note)}" for note in (spectrum.notes if spectrum is not None else ())]
    if answer.n_generated:
        invalid, repeated = answer.n_generated - answer.n_valid, answer.n_valid - answer.n_distinct
        lost = [
            f"{count} {what}"
            for count, what in (
                (invalid, "invalid"),
                (repeated, "repeated"),
                (answer.n_held_back, "held back: of another mass, or beyond the number asked for"),
            )
            if count
        ]
        left_out = f"; left out: {', '.join(lost)}" if lost else ""
        notes.append(f"Sequences generated: {answer.n_generated}; molecules listed: {listed}{left_out}.")
    if listed:
        notes.append(f"Ordered by {ORDERS.get(answer.ranked_by, answer.ranked_by)}.")
    return notes


def _facts(answer: GenerationLike) -> list[tuple[str, str]]:
    spectrum = answer.spectrum
    energy = spectrum.collision_energy if spectrum else None
    restricted = "not restricted"
    if answer.mass_filter:
        restricted = f"of {text(answer.formula, 60)}" if answer.formula else "of the precursor"
    facts = [
        ("place", place_of(answer)),
        ("precursor m/z", number(answer.precursor_mz, 4)),
        ("adduct", text(answer.adduct or "not known")),
        ("polarity", text(answer.ion_mode or "not known")),
        ("collision energy", f"{round(energy, 1):g} eV" if energy is not None else "not given"),
        ("instrument", text((spectrum.instrument_type if spectrum else None) or "not given", 60)),
        ("peaks", str(len(spectrum)) if spectrum else "0"),
        ("mass", restricted),
        ("molecules", f"{len(answer.molecules):,}"),
    ]
    if spectrum is not None and spectrum.retention_time is not None:
        facts.insert(6, ("retention time", f"{spectrum.retention_time / 60.0:.2f} min"))
    return facts
