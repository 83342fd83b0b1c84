"""Which tokens stand around a text."""

from pathlib import Path

import pytest

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.post_processors import read_post_processor

TEXT = {"Sequence": {"id": "A", "type_id": 0}}


def token(name):
    return {"SpecialToken": {"id": name, "type_id": 0}}


def template(*single):
    return {"type": "TemplateProcessing", "single": list(single)}


def sequence(*processors):
    return {"type": "Sequence", "processors": list(processors)}


LEVEL = {"type": "ByteLevel", "trim_offsets": False}
ROBERTA = {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}
FRAMES = {
    "nothing": (None, (None, None)),
    "offsets": (LEVEL, (None, None)),
    "only the text": (template(TEXT), (None, None)),
    "one before": (template(token("B"), TEXT), ("B", None)),
    "one behind": (template(TEXT, token("E")), (None, "E")),
    "one on each side": (template(token("B"), TEXT, token("E")), ("B", "E")),
    "RoBERTa": (ROBERTA, ("<s>", "</s>")),
    "BERT": (ROBERTA | {"type": "BertProcessing"}, ("<s>", "</s>")),
    "Llama-3's steps": (sequence(LEVEL, template(token("B"), TEXT)), ("B", None)),
    "steps without tokens": (sequence(LEVEL, LEVEL), (None, None)),
}


@pytest.mark.parametrize("case", FRAMES)
def test_the_tokens_around_a_text(case):
    spec, frame = FRAMES[case]
    assert read_post_processor(Path("t"), spec) == frame


REFUSED = {
    "two before": template(token("B"), token("C"), TEXT),
    "no text": template(token("B")),
    "a template that is none": {"type": "TemplateProcessing", "single": None},
    "a token without a name": ROBERTA | {"cls": [None, 0]},
    "two steps with tokens": sequence(ROBERTA, template(token("B"), TEXT)),
    "an unknown step": sequence(LEVEL, {"type": "PairProcessing"}),
    "no object": "ByteLevel",
}


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused(case):
    with pytest.raises(TokenizerError, match=r"t: the post_processor .* is not supported"):
        read_post_processor(Path("t"), REFUSED[case])
