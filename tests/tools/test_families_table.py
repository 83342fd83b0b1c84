"""tools/families.py has a line for every family, and says what it is made of."""

from tinyllm.models.families import FAMILIES
from tinyllm.models.seq2seq_families import SEQ2SEQ_FAMILIES
from tools import families


def test_every_family_has_a_line(capsys):
    assert families.main() == 0
    head, rule, *lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in (head, rule, *lines)}) == 1  # a table
    kinds = {line.split()[1].partition("-")[0] for line in lines}
    assert kinds == FAMILIES.keys() | SEQ2SEQ_FAMILIES.keys()
    rows = {line.split()[1]: [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert rows["gpt_neox"][:5] == [
        "GPTNeoXForCausalLM", "parallel", "layernorm", "gelu", "rope in part",
    ]  # fmt: skip
    assert rows["deepseek_v2"][-1] == "experts, latent attention"
    assert rows["mistral"][-1] == "windows"
    assert rows["opt-projected"][-1].endswith("embeddings projected, tied")
    assert rows["t5"] == ["T5ForConditionalGeneration", "pre_cross", "rmsnorm", "relu", "relative",
                          "tied"]  # fmt: skip
