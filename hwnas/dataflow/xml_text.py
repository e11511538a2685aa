"""XML files that others wrote: elements with the lines that they begin in; nothing is expanded or fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from hwnas.errors import RequestError
from safe_files import FileError, read_bytes

MOST_XML_BYTES = 1 << 20
MOST_LEVELS = 50


@dataclass(slots=True)
class Element:
    """An element: its tag, the line that it begins in, its text, and the elements within it."""

    tag: str
    line: int
    text: str = ""
    inner: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """Return the elements of that tag directly within."""
        return [element for element in self.inner if element.tag == tag]

    def first(self, tag: str) -> Element | None:
        """Return the first of them; None for none."""
        return next(iter(self.all(tag)), None)

    def said(self, tag: str) -> str:
        """Return the text of the first element of that tag within, without white space around; empty for none."""
        found = self.first(tag)
        return found.text.strip() if found else ""


def read_xml(path: Path) -> Element:
    """Return the outermost element of an XML file.

    A document type is refused: it is what declares entities, which can stand for endless text or for other files.

    Raises:
        RequestError: the file cannot be read, is no XML, has a document type, or is too long or too deep.
    """
    outermost = Element(tag="", line=0)
    open_elements = [outermost]
    parser = expat.ParserCreate()

    def begin(tag: str, _attributes: object) -> None:
        if len(open_elements) > MOST_LEVELS:
            raise RequestError(f"{path}: expected at most {MOST_LEVELS} levels within each other, found more")
        element = Element(tag=tag, line=parser.CurrentLineNumber)
        open_elements[-1].inner.append(element)
        open_elements.append(element)

    def add_text(text: str) -> None:
        open_elements[-1].text += text

    def refuse(*_: object) -> NoReturn:
        line = parser.CurrentLineNumber
        raise RequestError(f"{path}, line {line}: expected no document type, found one")

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: open_elements.pop()
    parser.CharacterDataHandler = add_text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(path, max_bytes=MOST_XML_BYTES), True)
    except RequestError:
        raise
    except FileError as error:
        raise RequestError(str(error)) from error
    except expat.ExpatError as error:
        raise RequestError(f"{path}, line {error.lineno}: expected XML, found {error}") from error
    except (LookupError, ValueError) as error:  # an encoding that nobody knows, or of several bytes a character
        raise RequestError(f"{path}, line 1: expected XML in UTF-8, found another encoding: {error}") from error
    return outermost.inner[0]
