"""The table of families: what each one's config may say, and what it means.

To add one, write a `Family`: the words of its config, the fields of its config that they mean,
and the names in its files. A model may need a piece that no other has: then that piece is a row of
its own table (`layouts`, `feed_forward`, `positions`, `tinyllm.layers.norms`).
"""

from tinyllm.models.config import StackConfig
from tinyllm.models.encoder_families import ENCODER_FAMILIES
from tinyllm.models.expert_families import EXPERT_FAMILIES
from tinyllm.models.family import Family
from tinyllm.models.gpt_families import GPT_FAMILIES
from tinyllm.models.llama_families import LLAMA_FAMILIES
from tinyllm.models.own_family import read_own, write_own
from tinyllm.models.parallel_families import PARALLEL_FAMILIES
from tinyllm.models.stored import Names

OWN = "tinyllm"  # the family of models that are trained here and have what no other family has
FAMILIES: dict[str, Family] = {
    **LLAMA_FAMILIES,
    **GPT_FAMILIES,
    **PARALLEL_FAMILIES,
    **EXPERT_FAMILIES,
    **ENCODER_FAMILIES,
    OWN: Family(architecture="TinyllmForCausalLM", act=None, read=read_own, write=write_own),
}


def names_of(kind: type[StackConfig]) -> tuple[str, ...]:
    """Return the families whose models are of this kind."""
    return tuple(name for name, family in FAMILIES.items() if family.kind is kind)


def names_in_files(config: StackConfig) -> Names:
    """Return how the files of the config's family name and lay out its parameters."""
    return FAMILIES[config.family].names(config)
