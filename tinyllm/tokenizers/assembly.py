"""Put a tokenizer together from what its files say: the part that all kinds of model share."""

from collections.abc import Callable
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import AddedToken
from tinyllm.tokenizers.literals import Literals
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import EncodeWord, Normalize, Pretokenize, Tokenizer


def assemble(
    path: Path,
    *,
    ids: dict[str, int],
    added: dict[str, AddedToken],
    piece_bytes: Callable[[str], bytes],
    first_bytes: Callable[[str], bytes],
    user_defined: dict[str, int],
    roles: dict[str, str | None],
    add_bos: bool,
    add_eos: bool,
    settings: Settings,
    normalize: Normalize,
    pretokenize: Pretokenize,
    encode_word: EncodeWord,
    sources: dict[str, bytes],
    export: Callable[[Tokenizer], dict[str, bytes]],
) -> Tokenizer:
    """Build the tokenizer of the vocabulary `ids` with its `added` tokens (see `combine`).

    `piece_bytes` is what a piece stands for in a text, `first_bytes` what at the start of one.
    `user_defined` are literals of the normalized text. `add_bos` and `add_eos` are the vocabulary's
    own word, on which `settings` has the last. Raises TokenizerError where BOS or EOS is wanted and
    there is none.
    """
    special = {token.content: token.id for token in added.values() if token.special}
    text = [token for token in added.values() if not token.special]
    literals = {token.content: token.id for token in text if not token.normalized}
    normalized = {normalize(token.content): token.id for token in text if token.normalized}
    shown = {id_: piece for piece, id_ in ids.items() if piece not in special}
    shown |= {id_: found for found, id_ in normalized.items()}  # the text that it was found as
    table = {id_: piece_bytes(shown[id_]) if id_ in shown else b"" for id_ in ids.values()}
    first_table = {}
    if first_bytes is not piece_bytes:
        first_table = {id_: first_bytes(piece) for id_, piece in shown.items()}
    edges = {token.id: token.edges for token in added.values() if any(token.edges)}
    role_ids = {role: None if name is None else ids[name] for role, name in roles.items()}
    if settings.add_bos and role_ids.get("bos") is None:
        raise TokenizerError(f"{path}: a prompt is to begin with BOS, and no token is BOS")
    if settings.add_eos and role_ids.get("eos") is None:
        raise TokenizerError(f"{path}: a text is to end with EOS, and no token is EOS")
    return Tokenizer(
        normalize=normalize,
        pretokenize=pretokenize,
        encode_word=encode_word,
        table=table,
        first_table={id_: first for id_, first in first_table.items() if first != table[id_]},
        special_tokens=special,
        literals=Literals(literals, edges),
        normalized_literals=Literals(normalized | user_defined, edges),
        special_literals=Literals(literals | special, edges),
        bos_id=role_ids.get("bos"),
        eos_id=role_ids.get("eos"),
        unk_id=role_ids.get("unk"),
        pad_id=role_ids.get("pad"),
        add_bos=add_bos if settings.add_bos is None else settings.add_bos,
        add_eos=add_eos if settings.add_eos is None else settings.add_eos,
        sources=sources,
        export=export,
    )
