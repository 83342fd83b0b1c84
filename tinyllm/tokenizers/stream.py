"""Turn token ids back into text as they come, without ever showing half a character."""

import codecs
from collections.abc import Callable, Mapping


class DecoderStream:
    """Decode ids one at a time; the pieces, joined, are the decoded text.

    A token is a run of bytes and may end inside a character: what is incomplete waits for the next
    token. Bytes that cannot be UTF-8 become U+FFFD.
    """

    __slots__ = ("_first", "_token_bytes", "_utf8")

    def __init__(self, token_bytes: Callable[[int], bytes], first: Mapping[int, bytes]) -> None:
        """`first`: what tokens stand for at the very start of the text, where it is other bytes."""
        self._token_bytes = token_bytes
        self._first = first
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Return the characters that the token `token` completes."""
        content = self._token_bytes(token)
        if self._first and content:
            content = self._first.get(token, content)
            self._first = {}
        return self._utf8.decode(content)

    def flush(self) -> str:
        """Return what an unfinished character leaves: U+FFFD, or nothing."""
        return self._utf8.decode(b"", final=True)
