"""Race of readers: spectra per second and resident memory of msformers, matchms and pyteomics on the same files.

The files are written at run time from MassBank spectra (shared data) into a temporary folder. Every contender reads
the whole file in a process of its own, several rounds in turn, and its best round counts. Processor time is
compared, since it does not depend on who else uses the machine; wall time stands beside it.

    python benchmarks/reading.py                 # the race
    python benchmarks/reading.py --big-gb 2      # and the memory of reading one MGF of 2 GB
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "reading.csv"
COLUMNS = ["format", "reader", "spectra", "peaks", "file_mb", "wall_s", "cpu_s", "spectra_per_cpu_s"]
COLUMNS += ["times_slower_than_msformers", "import_mb", "peak_mb", "command"]
METADATA = ("license", "instrument", "fragmentation_mode", "splash")


def contenders() -> dict[tuple[str, str], Callable[[str], Iterator[int]]]:
    """(format, reader) to a function of a path that yields the number of peaks of every spectrum."""
    return {
        ("mgf", "msformers"): _msformers,
        ("mgf", "matchms"): _matchms_mgf,
        ("mgf", "pyteomics"): _pyteomics_mgf,
        ("mgf", "pyteomics fastest"): _pyteomics_fastest,
        ("msp", "msformers"): _msformers,
        ("msp", "matchms"): _matchms_msp,
        ("mgf big", "msformers"): _msformers,
    }


def _msformers(path: str) -> Iterator[int]:
    from msformers.spectra.read import read

    for spectrum in read(path):
        yield len(spectrum.mz)  # type: ignore[union-attr] - a problem must not pass unnoticed here


def _matchms_mgf(path: str) -> Iterator[int]:
    from matchms.importing import load_from_mgf

    for spectrum in load_from_mgf(path):
        yield len(spectrum.peaks.mz)


def _matchms_msp(path: str) -> Iterator[int]:
    from matchms.importing import load_from_msp

    for spectrum in load_from_msp(path):
        yield len(spectrum.peaks.mz)


def _pyteomics_mgf(path: str) -> Iterator[int]:
    from pyteomics import mgf

    with mgf.read(path) as reader:
        for spectrum in reader:
            yield len(spectrum["m/z array"])


def _pyteomics_fastest(path: str) -> Iterator[int]:
    """The fastest way pyteomics has: no index, no charge column."""
    from pyteomics import mgf

    with mgf.MGF(path, read_charges=False) as reader:
        for spectrum in reader:
            yield len(spectrum["m/z array"])


def _import(reader: str) -> None:
    """Import before the clock starts, so that only reading is timed."""
    if reader == "msformers":
        import msformers.spectra.read  # noqa: F401
    elif reader == "matchms":
        import matchms.importing  # noqa: F401
    else:
        import pyteomics.mgf  # noqa: F401


def child(name: str, reader: str, path: str) -> dict[str, float]:
    """Read the file once in this process; what it took."""
    _import(reader)
    before = _peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    spectra = peaks = 0
    for count in contenders()[(name, reader)](path):
        spectra += 1
        peaks += count
    times = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    return {"spectra": spectra, "peaks": peaks, **times, "import_mb": before, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Largest resident memory of this process so far (Linux: VmHWM, which exec resets, unlike ru_maxrss)."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


def run_child(name: str, reader: str, path: Path) -> dict[str, float]:
    """`child` in a fresh process with one thread."""
    command = [sys.executable, __file__, "--child", name, reader, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_files(data: Path, folder: Path, n_spectra: int) -> dict[str, Path]:
    """The MGF and the MSP file of the race."""
    from msformers.spectra.read import read
    from msformers.spectra.spectrum import Spectrum
    from msformers.spectra.write_mgf import write_mgf
    from msformers.spectra.write_msp import write_msp

    spectra = list(itertools.islice(read(data / "data" / "massbank_msms.parquet"), n_spectra))
    for spectrum in spectra:
        if isinstance(spectrum, Spectrum):
            spectrum.metadata = {key: spectrum.metadata[key] for key in METADATA if key in spectrum.metadata}
    files = {"mgf": folder / "race.mgf", "msp": folder / "race.msp"}
    write_mgf(spectra, files["mgf"])
    write_msp(spectra, files["msp"])
    return files


def write_big(small: Path, folder: Path, gigabytes: float) -> Path:
    """The same records again and again until the file has the size."""
    big = folder / "big.mgf"
    block = small.read_bytes()
    with big.open("wb") as sink:
        while sink.tell() < gigabytes * 1e9:
            sink.write(block)
    return big


def race(files: dict[str, Path], rounds: int) -> dict[tuple[str, str], dict[str, float]]:
    """Best round of every contender that has a file."""
    best: dict[tuple[str, str], dict[str, float]] = {}
    for _ in range(rounds):
        for name, reader in contenders():
            if name not in files:
                continue
            result = run_child(name, reader, files[name])
            known = best.get((name, reader))
            if known is None or result["cpu_s"] < known["cpu_s"]:
                best[(name, reader)] = result
    return best


def write_results(
    best: dict[tuple[str, str], dict[str, float]], files: dict[str, Path], command: str
) -> None:
    """Write the table and show it."""
    rows: list[dict[str, Any]] = []
    for (name, reader), result in best.items():
        own = best[(name, "msformers")]
        row: dict[str, Any] = {"format": name, "reader": reader, "command": command}
        row |= {"spectra": int(result["spectra"]), "peaks": int(result["peaks"])}
        row["file_mb"] = round(files[name].stat().st_size / 1e6, 1)
        row |= {key: round(result[key], 3) for key in ("wall_s", "cpu_s")}
        speed, own_speed = result["spectra"] / result["cpu_s"], own["spectra"] / own["cpu_s"]
        row["spectra_per_cpu_s"], row["times_slower_than_msformers"] = (
            round(speed),
            round(own_speed / speed, 2),
        )
        row |= {key: round(result[key]) for key in ("import_mb", "peak_mb")}
        rows.append(row)
        sys.stdout.write(" ".join(f"{key}={row[key]}" for key in COLUMNS[:-1]) + "\n")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("MSFORMERS_DATA", str(Path(__file__).resolve().parents[2] / "shared"))
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared data folder")
    parser.add_argument("--spectra", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--big-gb", type=float, default=0.0, help="also read one MGF file of so many gigabytes"
    )
    parser.add_argument("--child", nargs=3, metavar=("FORMAT", "READER", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(child(*options.child)) + "\n")
        return
    command = f"python benchmarks/reading.py --spectra {options.spectra} --rounds {options.rounds}"
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(options.data, Path(folder), options.spectra)
        best = race(files, options.rounds)
        if options.big_gb:
            command += f" --big-gb {options.big_gb:g}"
            files["mgf big"] = write_big(files["mgf"], Path(folder), options.big_gb)
            best |= race({"mgf big": files["mgf big"]}, 1)
        write_results(best, files, command)


if __name__ == "__main__":
    main()
