"""Hub ids: a local path wins, an id downloads only what is needed, and failure is one line."""

from __future__ import annotations

import huggingface_hub
import pytest

from xsam_edge.export.config.hub import download_tokenizer, resolve
from xsam_edge.export.config.variants import get_variant
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Step

FOLDER = get_variant("phi3-aaai26").hub.checkpoint.split(":")[1]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    made: list[tuple[str, dict]] = []

    def snapshot_download(repository: str, **options: object) -> str:
        made.append((repository, options))
        (tmp_path / "snapshot" / FOLDER).mkdir(parents=True, exist_ok=True)
        (tmp_path / "snapshot" / FOLDER / "pytorch_model.bin").touch()
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return made


def test_an_existing_path_wins(calls, monkeypatch, tmp_path):
    (tmp_path / "hao9610" / "X-SAM").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("hao9610/X-SAM").is_dir()
    assert not calls


def test_a_shipped_model_needs_no_network(calls, monkeypatch, tmp_path):
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve("shapes") / "model.safetensors").is_file()
    assert resolve("./shapes").resolve() == tmp_path / "shapes"
    assert not calls


@pytest.mark.parametrize("name", ["hao9610/X-SAM", f"hao9610/X-SAM:{FOLDER}", f"hao9610/X-SAM:/{FOLDER}/"])
def test_a_folder_of_a_repository(calls, tmp_path, name):
    assert resolve(name, cache=tmp_path / "cache") == tmp_path / "snapshot" / FOLDER
    ((repository, options),) = calls
    assert repository == "hao9610/X-SAM"
    assert options["cache_dir"] == tmp_path / "cache"
    assert set(options["allow_patterns"]) == {f"{FOLDER}/{kind}" for kind in ("*.bin", "*.safetensors", "*.index.json")}


def test_a_file_of_a_repository(calls, tmp_path):
    file = f"{FOLDER}/pytorch_model.bin"
    assert resolve(f"hao9610/X-SAM:{file}") == tmp_path / "snapshot" / file
    assert calls[0][1]["allow_patterns"] == [file]


def test_weights_that_the_repository_lacks(calls):
    with pytest.raises(CheckpointError, match="has no weights in elsewhere"):
        resolve("hao9610/X-SAM:elsewhere")


@pytest.mark.parametrize(
    "name", ["absent.bin", "a/b/c", "/absent/file", "owner/name:../../etc", "owner/name:", "o/n:a b"]
)
def test_neither_path_nor_id(calls, name):
    with pytest.raises(CheckpointError, match="nor is it a hub id"):
        resolve(name)
    assert not calls


def test_tokenizer(calls):
    assert download_tokenizer(get_variant("qwen3-4b")).is_dir()
    ((repository, options),) = calls
    assert repository == "Qwen/Qwen3-4B-Instruct-2507"
    assert options["allow_patterns"] == ["tokenizer*"]


def test_offline_is_one_line(monkeypatch):
    def fail(repository: str, **options: object) -> str:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="cannot download hao9610/X-SAM: no route; check") as caught:
        resolve("hao9610/X-SAM")
    assert "\n" not in str(caught.value)


def test_a_download_tells_its_bytes(monkeypatch, tmp_path):
    """As the client moves its bars: one of the network, one of files, found one by one, one that counts files."""

    def snapshot_download(repository: str, *, tqdm_class: type, **options: object) -> str:
        network, content = (tqdm_class(total=0, initial=0, unit="B", unit_scale=True) for _ in range(2))
        files = tqdm_class(total=2, desc="Fetching 2 files")
        for size in (300, 500):
            content.total += size
            content.refresh()
            content.update(size)
            content.refresh()
            files.update(1)
        for bar in (network, content, files):
            bar.close()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    steps: list[Step] = []
    download_tokenizer(get_variant("qwen3-4b"), steps.append)
    told = list(dict.fromkeys((step.done, step.total) for step in steps))
    assert told == [(300, 300), (300, 800), (800, 800)]
    assert {(step.what, step.unit) for step in steps} == {("download Qwen/Qwen3-4B-Instruct-2507", "bytes")}
