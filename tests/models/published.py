"""The config.json files of published models, and how many parameters their authors' code has."""

import json
from pathlib import Path

from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import understand

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def published_config(name, **changes):
    """Return what tinyllm understands of a model's file, or of a changed one."""
    return understand(KeyReader(PUBLISHED[name]["config"] | changes, name))
