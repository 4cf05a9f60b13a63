"""Reading XML of unknown origin: a stream in pieces, with caps, without entities, as far as it is well-formed.

The parser is expat from the standard library. It never opens another file; a document type (the place where entities,
and with them the known XML bombs, are declared) is refused; nesting and the length of a single tag are capped. Memory
therefore depends on one spectrum, not on the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from xml.parsers import expat

from .record import Fault, Record
from .source import Source, SourceError

logger = logging.getLogger(__name__)

MAX_DEPTH = 100
"""Nested elements; mzML needs 9, mzXML one more per MS level."""
MAX_TAG_BYTES = 4 * 2**20
"""Bytes of one tag or comment."""
MAX_TEXT = 10_000
"""Characters kept of one attribute."""
BLOCK = 2**16


class XmlError(Exception):
    """Why a file cannot be read on."""

    def __init__(self, field: str, value: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.fault = Fault(field, value, reason, remedy)


class XmlRecords:
    """Base of the XML readers: feeds a file to the handlers named in `starts` and `ends`.

    Attributes:
        found: records finished but not yet handed out; the handlers append to it.
        starts, ends: handlers by element name without prefix; a start handler gets the attributes.
        native_id: of the spectrum being read, so that a fault can name it.
        skipped: MS1 spectra left out so far.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Record] = []
        self.starts: dict[str, Callable[[dict[str, str]], None]] = {}
        self.ends: dict[str, Callable[[], None]] = {}
        self.native_id = ""
        self.skipped = 0
        self._depth = 0
        self._text: list[str] = []
        self._room = 0
        self._parser = self._make_parser()

    @property
    def line(self) -> int:
        """Line of the element being handled, counted from 1."""
        return int(self._parser.CurrentLineNumber)

    def collect(self, limit: int) -> None:
        """From here on, keep up to `limit` characters of text."""
        self._text, self._room = [], limit
        self._parser.CharacterDataHandler = self._on_text

    def collected(self) -> str | None:
        """The text since `collect`, which ends here; None if it was longer than allowed."""
        self._parser.CharacterDataHandler = None
        text, self._text = self._text, []
        return "".join(text) if self._room >= 0 else None

    def records(self) -> Iterator[Record]:
        """The records of the file in order; if it cannot be read to its end, the last one says why and where."""
        fed = 0
        with self.source.binary() as stream:
            more = True
            while more:
                fault: Fault | None = None
                try:
                    block = stream.read1(BLOCK)
                    more = bool(block)
                    self._parser.Parse(block, not more)
                    fed += len(block)
                    if fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES + BLOCK:
                        raise XmlError(
                            "XML", "", f"has a tag longer than {MAX_TAG_BYTES} bytes", "repair the file"
                        )
                except SourceError as error:
                    fault = Fault("file", "", error.reason, error.remedy)
                except XmlError as error:
                    fault = error.fault
                except expat.ExpatError as error:
                    fault = self._syntax(error)
                yield from self.found
                self.found.clear()
                if fault is not None:
                    fields = {"native_id": self.native_id} if self.native_id else {}
                    yield Record(self.line, fields, "", fault=fault)
                    return
        if self.skipped:
            logger.info("%s: left out %d MS1 spectra", self.source.path, self.skipped)

    def _make_parser(self) -> Any:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 2**16
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.StartDoctypeDeclHandler = self._on_doctype
        return parser

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(
                "XML", name[:80], f"is nested more than {MAX_DEPTH} deep", "this is no mass spectrum file"
            )
        handler = self.starts.get(name) or (self.starts.get(name.rpartition(":")[2]) if ":" in name else None)
        if handler is not None:
            handler(attributes)

    def _on_end(self, name: str) -> None:
        self._depth -= 1
        handler = self.ends.get(name) or (self.ends.get(name.rpartition(":")[2]) if ":" in name else None)
        if handler is not None:
            handler()

    def _on_text(self, text: str) -> None:
        self._room -= len(text)
        if self._room >= 0:
            self._text.append(text)
        else:
            self._text.clear()

    def _on_doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        raise XmlError(
            "DOCTYPE",
            name[:80],
            "declares a document type, which may hide entity attacks, and is refused",
            "remove the DOCTYPE lines",
        )

    def _syntax(self, error: expat.ExpatError) -> Fault:
        codes = expat.errors.codes
        cut = (codes[expat.errors.XML_ERROR_NO_ELEMENTS], codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN])
        if error.code in cut:
            return Fault("XML", "", "ends too early: the file is cut off", "copy or convert the file again")
        reason = f"is not well-formed ({expat.ErrorString(error.code)}, column {error.offset + 1})"
        return Fault("XML", "", reason, "convert the file again", error.lineno)
