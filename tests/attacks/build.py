"""Small builders of mzML and mzXML text, honest and hostile, so that no such file lies in the repository."""

from __future__ import annotations

import base64
import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

TERMS = {
    "ms level": "MS:1000511",
    "positive scan": "MS:1000130",
    "negative scan": "MS:1000129",
    "centroid spectrum": "MS:1000127",
    "profile spectrum": "MS:1000128",
    "filter string": "MS:1000512",
    "scan start time": "MS:1000016",
    "selected ion m/z": "MS:1000744",
    "charge state": "MS:1000041",
    "peak intensity": "MS:1000042",
    "isolation window target m/z": "MS:1000827",
    "collision energy": "MS:1000045",
    "normalized collision energy": "MS:1000138",
    "beam-type collision-induced dissociation": "MS:1000422",
    "electron transfer dissociation": "MS:1000598",
    "m/z array": "MS:1000514",
    "intensity array": "MS:1000515",
    "64-bit float": "MS:1000523",
    "32-bit float": "MS:1000521",
    "zlib compression": "MS:1000574",
    "no compression": "MS:1000576",
    "MS-Numpress linear": "MS:1002312",
    "MS-Numpress slof": "MS:1002314",
    "MS-Numpress pic": "MS:1002313",
    "MS-Numpress linear zlib": "MS:1002746",
    "zstandard": "MS:1003780",
}
UNITS = {"minute": "UO:0000031", "second": "UO:0000010", "electronvolt": "UO:0000266"}
ZLIB, NONE = "zlib compression", "no compression"


def param(name: str, value: object = "", unit: str = "") -> str:
    extra = f' unitCvRef="UO" unitAccession="{UNITS[unit]}" unitName="{unit}"' if unit else ""
    return f'<cvParam cvRef="MS" accession="{TERMS[name]}" name="{name}" value="{value}"{extra}/>'


def packed(values: Sequence[float], bits: int = 64, compression: str = ZLIB, order: str = "<") -> bytes:
    data = struct.pack(f"{order}{len(values)}{'d' if bits == 64 else 'f'}", *values)
    return zlib.compress(data) if compression == ZLIB else data


def array(kind: str, data: bytes, bits: int = 64, compression: str = ZLIB, attributes: str = "") -> str:
    text = base64.b64encode(data).decode()
    return (
        f'<binaryDataArray encodedLength="{len(text)}"{attributes}>{param(f"{bits}-bit float")}{param(compression)}'
        f"{param(kind)}<binary>{text}</binary></binaryDataArray>"
    )


def arrays(
    mz: Sequence[float],
    intensity: Sequence[float],
    bits: int = 64,
    compression: str = ZLIB,
    intensity_bits: int = 32,
) -> str:
    return (
        '<binaryDataArrayList count="2">'
        + array("m/z array", packed(mz, bits, compression), bits, compression)
        + array(
            "intensity array", packed(intensity, intensity_bits, compression), intensity_bits, compression
        )
        + "</binaryDataArrayList>"
    )


def precursor(mz: object = 195.0877, *, charge: object = 1, activation: str = "", window: str = "") -> str:
    state = param("charge state", charge) if charge is not None else ""
    ion = param("selected ion m/z", mz) if mz is not None else ""
    return (
        f'<precursorList count="1"><precursor><isolationWindow>{window}</isolationWindow><selectedIonList count="1">'
        f"<selectedIon>{ion}{state}</selectedIon></selectedIonList><activation>{activation}</activation>"
        "</precursor></precursorList>"
    )


def spectrum(
    number: int,
    mz: Sequence[float] = (50.5, 100.25, 195.0877),
    intensity: Sequence[float] = (10.0, 100.0, 50.0),
    *,
    level: int = 2,
    params: str = "",
    precursors: str | None = None,
    binary: str | None = None,
    length: object = None,
    polarity: str = "positive scan",
    shape: str = "centroid spectrum",
    scan: str = "",
) -> str:
    return (
        f'<spectrum index="{number - 1}" id="scan={number}" '
        f'defaultArrayLength="{len(mz) if length is None else length}">\n'
        f"{param('ms level', level)}{param(polarity)}{param(shape)}{params}"
        f'<scanList count="1"><scan>{scan}</scan></scanList>'
        f"{(precursor() if level > 1 else '') if precursors is None else precursors}"
        f"{arrays(mz, intensity) if binary is None else binary}</spectrum>\n"
    )


def mzml(spectra: Iterable[str], *, doctype: str = "", head: str = "", tail: bool = True) -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{doctype}<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1.0">\n'
        f'{head}<run id="run"><spectrumList count="1">\n'
        + "".join(spectra)
        + ("</spectrumList></run></mzML>\n" if tail else "")
    )


def scan(
    number: int,
    mz: Sequence[float] = (50.5, 100.25, 195.0877),
    intensity: Sequence[float] = (10.0, 100.0, 50.0),
    *,
    level: int = 2,
    attributes: str = 'polarity="+" retentionTime="PT12.3S" collisionEnergy="35" centroided="1"',
    precursors: str = '<precursorMz precursorIntensity="1000" precursorCharge="1" activationMethod="HCD">195.0877</precursorMz>',
    bits: int = 64,
    compression: str = "zlib",
    count: object = None,
    data: bytes | None = None,
    nested: str = "",
    peaks: str = "",
) -> str:
    if data is None:
        pairs = [value for pair in zip(mz, intensity, strict=True) for value in pair]
        data = packed(pairs, bits, ZLIB if compression == "zlib" else NONE, ">")
    return (
        f'<scan num="{number}" msLevel="{level}" peaksCount="{len(mz) if count is None else count}" {attributes}>\n'
        f'{precursors if level > 1 else ""}<peaks precision="{bits}" byteOrder="network" contentType="m/z-int" '
        f'compressionType="{compression}" {peaks}>{base64.b64encode(data).decode()}</peaks>{nested}</scan>\n'
    )


def mzxml(scans: Iterable[str], *, doctype: str = "", tail: bool = True) -> str:
    return (
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{doctype}<mzXML xmlns="http://sashimi.sourceforge.net/schema">\n'
        '<msRun scanCount="1"><msInstrument><msModel category="msModel" value="Q Exactive"/></msInstrument>\n'
        + "".join(scans)
        + ("</msRun></mzXML>\n" if tail else "")
    )


def zeros(size: int) -> bytes:
    """A zlib stream of `size` zero bytes, made without holding them."""
    deflater = zlib.compressobj(9)
    block = bytes(2**20)
    pieces = [deflater.compress(block) for _ in range(size // len(block))]
    return b"".join([*pieces, deflater.compress(bytes(size % len(block))), deflater.flush()])


def gzip_bomb(path: Path, start: bytes, filler: bytes, size: int) -> None:
    """A gzip file of `start` and then `size` bytes of `filler` over and over (one member, copied)."""
    member = gzip.compress(filler * (2**24 // len(filler)), compresslevel=9)
    with path.open("wb") as stream:
        stream.write(gzip.compress(start))
        for _ in range(size // 2**24):
            stream.write(member)


LAUGHS = (
    "<!DOCTYPE mzML [\n<!ENTITY a0 'ha'>\n"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>\n" for n in range(1, 12))
    + "]>\n"
)
"""The billion laughs: 10**11 times 'ha' if `&a11;` were expanded."""
