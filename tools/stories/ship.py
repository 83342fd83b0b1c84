"""Put a trained model into the package: python -m tools.stories.ship FOLDER

Weights are rounded to bfloat16, which halves the file; the tokenizer goes with them, and some lines
of the run's metrics stay beside this file. Prints how many bytes the model takes, and the SHA-256
of its weights.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes

import tinyllm
from tinyllm.checkpoints import write_checkpoint
from tinyllm.models.architecture import architecture
from tinyllm.shipped import FOLDER

LIMIT = 8_000_000  # bytes
EVERY = 20  # steps between two lines of the log


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    trained = parser.parse_args().trained
    model = tinyllm.load(trained)
    assert model.tokenizer is not None
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in model.params.items()}
    config = architecture(model.config).write_config(model.config, "bfloat16")
    write_checkpoint(FOLDER, config, rounded, {"eos_token_id": sorted(model.eos_ids)})
    model.tokenizer.save(FOLDER)
    lines = (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    log = (line for line in lines if is_kept(json.loads(line)))
    (Path(__file__).parent / "metrics.jsonl").write_text("".join(log), encoding="utf-8")
    size = sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file())
    weights = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    print(f"{size:,} bytes in {FOLDER}, weights sha256 {weights}")
    return 0 if size <= LIMIT else 1


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a step goes into the log: every twentieth, and all that were evaluated."""
    return row["step"] % EVERY == 0 or "val_loss" in row


if __name__ == "__main__":
    sys.exit(main())
