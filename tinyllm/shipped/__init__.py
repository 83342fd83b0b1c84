"""The model that ships with the package: a small Llama that tells stories, trained by tinyllm.

Its files lie in this folder, MODEL.md says how it was made and how good it is.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
