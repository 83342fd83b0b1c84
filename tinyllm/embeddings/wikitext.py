"""The prose in a MediaWiki dump: articles without templates, tables, references and markup.

A dump is read line by line and nothing in it is obeyed: no XML parser, so no entities to expand,
and a slice that was cut anywhere is read as far as it goes. Every step takes time linear in the
length of the page, whatever the page holds.
"""

import html
import re
from collections.abc import Iterable, Iterator

_OPENING = r"\{\{|\{\||<(?:ref|math|gallery|timeline|source|code|pre)\b[^<>]*(?<!/)>"
_CLOSING = r"\}\}|\|\}(?!\})|</(?:ref|math|gallery|timeline|source|code|pre)\s*>"
_NOT_PROSE = re.compile(rf"(?P<open>{_OPENING})|(?P<close>{_CLOSING})|(?P<heading>\n=)", re.I)
_LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
_NOT_SHOWN = re.compile(r"\s*(?:file|image|category|media|[a-z]{2,3}):", re.I)
_TAG_OR_URL = re.compile(r"<[^<>]*>|(?:https?|ftp)://[^\s\]|<>]*")
LINK_DEPTH = 3  # links in the caption of an image, which is a link
LONGEST_PAGE = 2**24  # characters; what lies beyond is not read


def is_dump(start: str) -> bool:
    """Whether a text that starts so is a dump."""
    return start.lstrip().startswith(("<mediawiki", "<page>"))


def dump_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of prose of a dump's articles; redirects and other namespaces are left out.

    >>> page = "<page><ns>0</ns>\\n<text xml:space='preserve'>A [[cat|kitten]].</text></page>"
    >>> list(dump_lines(page.splitlines()))
    ['A kitten.']
    """
    wanted, page, size = True, list[str](), 0
    for line in lines:
        if "<ns>" in line:
            wanted = "<ns>0</ns>" in line
        if "<redirect " in line:
            wanted = False
        if not page:
            _, tag, rest = line.partition("<text")
            if not tag:
                continue
            line = rest.partition(">")[2]
        text, end, _ = line.partition("</text>")
        if size < LONGEST_PAGE:
            page.append(text)
            size += len(text)
        if end:
            if wanted:
                yield from prose(html.unescape("\n".join(page))).splitlines()
            page, size = [], 0


def prose(wikitext: str) -> str:
    """Return what a reader of a page reads, of its markup.

    >>> prose("'''Oslo'''{{pron|x}} lies in [[Norway]].<ref>[http://x.no]</ref>")
    "'''Oslo''' lies in Norway."
    """
    text = html.unescape(_outside(_without_comments(wikitext)))
    for _ in range(LINK_DEPTH):
        text = _LINK.sub(_label, text)
    return _TAG_OR_URL.sub(" ", text)


def _without_comments(wikitext: str) -> str:
    """Drop comments; one that never ends goes as far as the next one."""
    first, *others = wikitext.split("<!--")
    return first + "".join(other.partition("-->")[2] for other in others)


def _outside(wikitext: str) -> str:
    """Return what stands outside of templates, tables and references, however nested.

    A heading ends all of them: one that is never closed costs a section, not the page.
    """
    kept, depth, at = list[str](), 0, 0
    for mark in _NOT_PROSE.finditer(wikitext):
        if depth == 0:
            kept.append(wikitext[at : mark.start()])
        match mark.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case _:
                depth = 0
        at = mark.start() if mark.lastgroup == "heading" else mark.end()
    return "".join(kept) + ("" if depth else wikitext[at:])


def _label(link: re.Match[str]) -> str:
    """Return the text that a link shows: of [[target|label]] the label."""
    return "" if _NOT_SHOWN.match(link[1]) else link[1].rpartition("|")[2]
