"""Make tests/golden/*.npz: tiny models and the logits that transformers computes for them.

And tests/oracles/pruning.npz: what pruning should find in one of them.

    pip install ".[test,parity]"
    python tools/make_golden.py

Each file holds config.json as transformers wrote it ("config"), the parameters in float32 under
their names ("params/…"), token ids ("tokens", (B, T)) and the logits that transformers makes of
them in float64 throughout ("logits", (B, T, V)). tests/parity/test_golden.py reads them without
PyTorch. Nothing is drawn at random twice: the files change only with tests/parity/families.py or
transformers itself.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from parity.families import GOLDEN, random_tokens  # noqa: E402
from parity.oracle import logits64, random_model  # noqa: E402
from parity.test_pruned_models import oracle_numbers  # noqa: E402


def make(name: str, path: Path) -> None:
    """Write the golden file of one model of the table."""
    oracle = random_model(name, dtype=np.float32)
    tokens = random_tokens(batch=2)
    with tempfile.TemporaryDirectory() as folder:
        oracle.config.save_pretrained(folder)
        config = (Path(folder) / "config.json").read_text(encoding="utf-8")
    params = {
        f"params/{key}": parameter.detach().numpy().astype(np.float32)
        for key, parameter in oracle.named_parameters()
    }
    np.savez_compressed(
        path, config=np.array(config), tokens=tokens, logits=logits64(oracle, tokens), **params
    )


if __name__ == "__main__":
    for name in GOLDEN:
        path = ROOT / "tests" / "golden" / f"{name}.npz"
        make(name, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")
    np.savez_compressed(ROOT / "tests" / "oracles" / "pruning.npz", **oracle_numbers())
