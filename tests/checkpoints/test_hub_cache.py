"""Models are found where Hugging Face's tools put them; half a download is not taken for one."""

import os
from pathlib import Path

import pytest

from tinyllm.checkpoints import hub_cache
from tinyllm.checkpoints.hub_cache import find_model
from tinyllm.errors import CheckpointError

ONE, TWO = "1" * 40, "12" * 20


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".cache" / "huggingface" / "hub"


def add(cache, name="org/tiny", commit=ONE, ref="main", links=True):
    """Put one snapshot into a cache, as a download does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    if links:
        (repository / "blobs" / "abc").write_text("{}")
        (snapshot / "config.json").symlink_to("../../blobs/abc")
    else:
        (snapshot / "config.json").write_text("{}")
    if ref:
        (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    return snapshot


def refusal(name):
    with pytest.raises(CheckpointError) as caught:
        find_model(name)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_an_existing_folder_or_file_is_itself(cache, tmp_path):
    add(cache)
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    (tmp_path / "model.bin").touch()
    assert find_model("org/tiny") == Path("org/tiny")  # before the cache
    assert find_model(tmp_path / "model.bin") == tmp_path / "model.bin"
    assert find_model("~/model.bin") == tmp_path / "model.bin"


@pytest.mark.parametrize("links", [True, False], ids=["links", "copies, as on Windows"])
def test_main_is_what_its_reference_says(cache, links):
    add(cache, commit=TWO, ref=None, links=False)
    wanted = add(cache, links=links)
    assert find_model("org/tiny") == wanted
    (cache / "models--org--tiny" / "refs" / "main").write_text(f"{ONE}\n")
    assert find_model("org/tiny") == wanted


def test_a_name_may_have_no_organisation(cache):
    snapshot = add(cache, "gpt2")
    assert find_model("gpt2") == snapshot


def test_without_references_the_only_snapshot_is_taken(cache):
    snapshot = add(cache, ref=None)
    assert find_model("org/tiny") == snapshot


def test_without_references_several_snapshots_are_listed(cache):
    add(cache, ref=None)
    add(cache, commit=TWO, ref=None, links=False)
    message = refusal("org/tiny")
    assert "org/tiny@111111111111, org/tiny@121212121212" in message


def test_many_snapshots_are_listed_in_part(cache):
    for digit in "abcdefg":
        add(cache, commit=digit * 40, ref=None, links=False)
    assert refusal("org/tiny").endswith("org/tiny@eeeeeeeeeeee, …")


def test_a_revision_is_a_reference_or_the_start_of_a_hash(cache):
    one = add(cache, ref="v1.0")
    two = add(cache, commit=TWO, ref="refs/pr/7", links=False)
    assert find_model("org/tiny@v1.0") == one
    assert find_model("org/tiny@refs/pr/7") == two
    assert find_model("org/tiny@12") == two
    assert find_model(f"org/tiny@{ONE}") == one
    assert "choose one of" in refusal("org/tiny@1")
    assert "revision 'nope' is not in" in refusal("org/tiny@nope")


def test_a_revision_is_no_path(cache):
    add(cache)
    (cache / "models--org--tiny" / "refs" / "v").mkdir()
    assert "no name like org/model" in refusal("org/tiny@v/../main")


def test_a_reference_to_a_snapshot_that_is_not_there_takes_no_other(cache):
    add(cache, ref=None)
    (cache / "models--org--tiny" / "refs").mkdir()
    (cache / "models--org--tiny" / "refs" / "main").write_text(TWO)
    assert "choose one of: org/tiny@111111111111" in refusal("org/tiny")


@pytest.mark.parametrize("content", ["../../../etc", "", "a\0b", "/", "x" * 5000, "é"])
def test_a_reference_is_a_hash_and_no_path(cache, content):
    add(cache)
    (cache / "models--org--tiny" / "refs" / "main").write_text(content)
    assert "expected the hash of a commit" in refusal("org/tiny")


def test_a_dangling_link_is_an_incomplete_download(cache):
    snapshot = add(cache)
    (snapshot / "model.safetensors").symlink_to("../../blobs/nothing")
    message = refusal("org/tiny")
    assert "the download is incomplete ('model.safetensors' is a link to nothing)" in message
    assert "hf download org/tiny" in message
    assert find_model(snapshot) == snapshot  # the way out that the message names


def test_an_incomplete_blob_is_an_incomplete_download(cache):
    add(cache)
    (cache / "models--org--tiny" / "blobs" / "ff.incomplete").touch()
    assert "download is incomplete" in refusal("org/tiny")


def test_a_repository_without_snapshots_is_an_incomplete_download(cache):
    (cache / "models--org--tiny" / "refs").mkdir(parents=True)
    assert "download is incomplete; to download it: hf download org/tiny" in refusal("org/tiny")
    (cache / "models--org--tiny" / "snapshots").mkdir()
    assert "download is incomplete" in refusal("org/tiny")


def test_what_is_not_there_says_how_to_get_it(cache):
    assert refusal("org/tiny") == (
        f"org/tiny: no such folder, and not in {cache}; to download it: hf download org/tiny"
    )


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "google/gemma-2-2b", "mistralai/M"])
def test_gated_models_need_the_licence_first(cache, name):
    says = f"accept the licence first at https://huggingface.co/{name}, then to download"
    assert says in refusal(name)


def test_the_variables_are_honoured_in_order(cache, tmp_path, monkeypatch):
    at_home = add(cache)
    assert find_model("org/tiny") == at_home
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert find_model("org/tiny") == at_home  # looked for everywhere
    in_hf_home = add(tmp_path / "hf" / "hub")
    assert find_model("org/tiny") == in_hf_home
    monkeypatch.setenv("HF_HUB_CACHE", "~/mine")
    mine = add(tmp_path / "mine")
    assert find_model("org/tiny") == mine


def test_without_a_home_there_may_be_no_cache(cache, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no user database either
    assert "no cache: neither HF_HOME nor a home folder" in refusal("org/tiny")
    assert "is not a path" in refusal("~nobody-of-that-name/x")


@pytest.mark.parametrize(
    "name",
    ["", "a/../b", "org/tiny/x", "../x", "org/tiny\n", "/no/where", "a\0b", "x" * 5000, "é/b",
     "org/tiny@", "org/tiny@../x", "-x/y", "org//tiny"],
    ids=lambda name: repr(name[:12]),
)  # fmt: skip
def test_odd_names_are_refused(cache, name):
    assert refusal(name)


def test_an_unreadable_cache_is_an_error_of_ours(cache, monkeypatch):
    add(cache)

    def fail(*args):
        raise PermissionError("denied")

    monkeypatch.setattr(hub_cache, "_snapshot", fail)
    assert "cannot be read: denied" in refusal("org/tiny")
