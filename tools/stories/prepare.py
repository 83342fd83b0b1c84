"""Write the stories to train on and those to judge by: python -m tools.stories.prepare DATA OUT

DATA is the folder with the two files of TinyStories; OUT gets train.txt and validation.txt.
Prints what is in them, and their SHA-256.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from tools.stories.casing import Casing, share_restored
from tools.stories.corpus import END, read_stories


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    stories = read_stories(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(stories.original)} stories in original case, {len(stories.restored)} restored")
    share = share_restored(Casing(stories.original), stories.validation)
    print(f"{share:.1%} of the validation stories' words get their case back")
    for name, texts in (
        ("train.txt", stories.original + stories.restored),
        ("validation.txt", stories.validation),
    ):
        content = "".join(f"{text}\n{END}\n" for text in texts).encode()
        (args.out / name).write_bytes(content)
        found = hashlib.sha256(content).hexdigest()
        print(f"{name}: {len(texts)} stories, {len(content):,} bytes, sha256 {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
