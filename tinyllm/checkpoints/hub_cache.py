"""Find a model that was downloaded before, where Hugging Face's tools keep it. No network.

    models--org--name/
        refs/main             the hash of the revision that "main" was
        snapshots/<hash>/     the model's folder: links into blobs/, or plain files on Windows
        blobs/                the files themselves; *.incomplete while they are downloaded

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
import re
from pathlib import Path

from tinyllm.checkpoints.diagnose import refusal
from tinyllm.errors import CheckpointError
from tinyllm.shipped import FOLDER
from tinyllm.shown import shown

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
_NAME = re.compile(rf"((?:{_PART}/)?{_PART})(?:@([A-Za-z0-9_][A-Za-z0-9_./-]{{0,199}}))?\Z")
_HASH = re.compile(r"[A-Za-z0-9]{1,64}\Z")
_GATED = ("meta-llama/", "google/gemma", "mistralai/")


def find_model(name_or_path: str | os.PathLike[str] | None) -> Path:
    """Find a model's folder: the path itself, or `org/name` in the local Hugging Face cache.

    None is the model that ships with the package.

    `org/name@revision` takes a branch, a tag or the first digits of a commit. Without a revision it
    is main, or the only one that is there. Looks in $HF_HUB_CACHE, $HF_HOME/hub and
    ~/.cache/huggingface/hub. A folder of that name wins.

    Raises CheckpointError where there is none, or an incomplete one, saying how to get it.
    """
    if name_or_path is None:
        return FOLDER
    text = os.fspath(name_or_path)
    try:
        path = Path(text).expanduser()
        if text and path.exists():
            return path
    except (OSError, RuntimeError, ValueError) as error:  # too long; no home; a zero byte
        raise CheckpointError(f"{shown(text)} is not a path: {error}") from error
    match = _NAME.match(text)
    if not match or ".." in text:
        raise CheckpointError(f"{shown(text)}: no such file or folder, and no name like org/model")
    name, revision = match.groups()
    places = caches()
    for cache in places:
        repository = cache / f"models--{name.replace('/', '--')}"
        if repository.is_dir():
            try:
                return _complete(name, _snapshot(name, repository, revision), repository)
            except OSError as error:
                raise refusal(repository, f"cannot be read: {error}") from error
    looked = ", ".join(map(str, places)) or "no cache: neither HF_HOME nor a home folder is set"
    raise CheckpointError(f"{name}: no such folder, and not in {looked}; {_download(name)}")


def caches() -> list[Path]:
    """Return the folders that can hold a cache, the most specific first."""
    places = [os.environ.get("HF_HUB_CACHE", "")]
    if os.environ.get("HF_HOME"):
        places.append(os.path.join(os.environ["HF_HOME"], "hub"))
    places.append(os.path.join("~", ".cache", "huggingface", "hub"))
    expanded = [os.path.expanduser(place) for place in places if place]
    return [Path(place) for place in dict.fromkeys(expanded) if not place.startswith("~")]


def _snapshot(name: str, repository: Path, revision: str | None) -> Path:
    """Choose the snapshot that the revision, or its absence, means."""
    reference = repository / "refs" / (revision or "main")
    if reference.is_file():
        with reference.open("rb") as file:
            commit = file.read(100).decode("ascii", "replace").strip()
        if not _HASH.match(commit):
            raise refusal(reference, f"holds {shown(commit)}; expected the hash of a commit")
        if (repository / "snapshots" / commit).is_dir():
            return repository / "snapshots" / commit
    folder = repository / "snapshots"
    snapshots = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    found = [path for path in snapshots if path.name.startswith(revision or "")]
    if len(found) == 1 and (revision or not reference.is_file()):
        return found[0]
    if not snapshots:
        raise CheckpointError(f"{name}: the download is incomplete; {_download(name)}")
    choices = ", ".join(f"{name}@{path.name[:12]}" for path in (found or snapshots)[:5])
    wanted = f"revision {shown(revision)}" if revision else "revision main"
    raise CheckpointError(
        f"{name}: {wanted} is not in {repository}, or not clear; choose one of: {choices}"
        f"{', …' if len(found or snapshots) > 5 else ''}"
    )


def _complete(name: str, snapshot: Path, repository: Path) -> Path:
    """Return the snapshot if the download of its files came to an end."""
    dangling = [path.name for path in snapshot.iterdir() if not path.exists()]
    partial = sorted((repository / "blobs").glob("*.incomplete"))
    if dangling or partial:
        what = f"{shown(min(dangling))} is a link to nothing" if dangling else str(partial[0])
        raise CheckpointError(
            f"{name}: the download is incomplete ({what}); {_download(name)}; or, if what is "
            f"missing is not needed, give the folder {snapshot} itself"
        )
    return snapshot


def _download(name: str) -> str:
    command = f"to download it: hf download {name}"
    if name.startswith(_GATED):
        return f"accept the licence first at https://huggingface.co/{name}, then {command}"
    return command
