"""Hub ids: a local path wins, one form of the weights comes, whole and verified, and failure is one line."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from tests.export.config.hub_server import Hub, serving
from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.hub import download_tokenizer, resolve
from xsam_edge.export.config.hub_cache import blob_sha256
from xsam_edge.export.config.licence import licence_of
from xsam_edge.export.config.variants import get_variant
from xsam_edge.runtime.errors import CheckpointError, XSamError
from xsam_edge.runtime.progress import Step

REPOSITORY, _, FOLDER = (get_variant("phi3-aaai26").hub.checkpoint or "").partition(":")
STAGES = (
    "s1_seg_finetune/xsam_sam_large_m2f_e36_gpu16_seg_finetune",
    "s2_align_pretrain/xsam_phi3_mini_4k_instruct_siglip2_so400m_p14_384_sam_large_e1_gpu16_align_pretrain",
    FOLDER,
)
CARD = b"---\nlanguage:\n- en\nlicense: apache-2.0\n---\n# X-SAM\n"
SHARDS = tuple(f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
INDEX = "model.safetensors.index.json"


def shard(name: str) -> bytes:
    return save({name: np.arange(2000, dtype=np.float16)})


def sharded() -> dict[str, bytes]:
    weight_map = {f"part.{index}": file for index, file in enumerate(SHARDS)}
    files = {file: shard(name) for name, file in weight_map.items()}
    return files | {INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The released repository in small: three stages, a file each."""
    weights = {f"{stage}/pytorch_model.bin": bytes([index]) * 50_000 for index, stage in enumerate(STAGES)}
    with serving(Hub(REPOSITORY, {"README.md": CARD, ".gitattributes": b"*.bin filter=lfs\n"} | weights)) as served:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


@pytest.fixture
def both(hub: Hub) -> Hub:
    """The same weights in shards, too."""
    hub.files |= {f"{FOLDER}/{name}": content for name, content in sharded().items()}
    return hub


class Notes:
    """What progress was told."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def text(self) -> list[str]:
        return [step.what for step in self.steps if step.note]


def unreachable(monkeypatch: pytest.MonkeyPatch, hub: Hub, how: str) -> None:
    """Without a network: switched off, or nobody answers."""
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


# Names


def test_an_existing_path_wins(hub, monkeypatch, tmp_path):
    (tmp_path / "hao9610" / "X-SAM").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("hao9610/X-SAM").is_dir()
    assert not hub.sent


def test_a_shipped_model_needs_no_network(monkeypatch, tmp_path):
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve("shapes") / "model.safetensors").is_file()
    assert resolve("./shapes").resolve() == tmp_path / "shapes"


@pytest.mark.parametrize(
    "name", ["absent.bin", "a/b/c", "/absent/file", "owner/name:../../etc", "owner/name:", "o/n:a b"]
)
def test_neither_path_nor_id(name):
    with pytest.raises(CheckpointError, match="nor is it a hub id"):
        resolve(name)


# What is downloaded


@pytest.mark.parametrize(
    "name",
    [REPOSITORY, f"{REPOSITORY}:{FOLDER}", f"{REPOSITORY}:/{FOLDER}/", f"{REPOSITORY}:{FOLDER}/pytorch_model.bin"],
)
def test_the_released_weights_and_nothing_else(hub, tmp_path, name):
    notes = Notes()
    path = resolve(name, tmp_path, notes)
    assert path.relative_to(tmp_path).parts[-4:] == (hub.commit, *FOLDER.split("/"), "pytorch_model.bin")
    assert path.read_bytes() == hub.files[f"{FOLDER}/pytorch_model.bin"]
    assert hub.transferred == {f"{FOLDER}/pytorch_model.bin": 50_000}
    (note,) = notes.text
    assert f"downloading {FOLDER}/pytorch_model.bin of {REPOSITORY}, 50.0 kB, into {tmp_path}" in note
    assert (notes.steps[-1].done, notes.steps[-1].total) == (50_000, 50_000)
    assert licence_of(path, path) == "apache-2.0"


def test_a_second_time_nothing_is_downloaded(hub, tmp_path):
    first, notes = resolve(REPOSITORY, tmp_path), Notes()
    hub.sent.clear()
    assert resolve(REPOSITORY, tmp_path, notes) == first
    assert not hub.sent and not notes.text


def test_a_new_commit_with_the_same_weights(hub, tmp_path):
    first, notes = resolve(REPOSITORY, tmp_path), Notes()
    hub.sent.clear()
    hub.commit = "d" * 40
    hub.files["README.md"] += b"more\n"
    path = resolve(REPOSITORY, tmp_path, notes)
    assert path != first and path.resolve() == first.resolve()
    assert not hub.sent and not notes.text


def test_of_two_forms_one_comes(both, tmp_path):
    path = resolve(REPOSITORY, tmp_path)
    assert path.name == INDEX
    assert set(both.transferred) == {f"{FOLDER}/{name}" for name in SHARDS}
    checkpoint = open_checkpoint(path)
    assert set(checkpoint) == {"part.0", "part.1"}
    np.testing.assert_array_equal(checkpoint.read("part.1"), np.arange(2000, dtype=np.float16))


def test_a_form_that_is_there_is_not_downloaded_in_another(both, tmp_path):
    there = resolve(f"{REPOSITORY}:{FOLDER}/pytorch_model.bin", tmp_path)
    both.sent.clear()
    assert resolve(REPOSITORY, tmp_path) == there
    assert not both.sent


def test_a_form_that_lacks_a_shard_is_not_looked_at_behind_a_whole_one(both, tmp_path):
    index = json.dumps({"weight_map": {"a": "absent.bin"}}).encode()
    both.files[f"{FOLDER}/pytorch_model.bin.index.json"] = index
    assert resolve(REPOSITORY, tmp_path).name == INDEX
    assert resolve(f"{REPOSITORY}:{FOLDER}/{INDEX}", tmp_path / "other").name == INDEX


def test_blobs_are_verified_and_linked(both, tmp_path):
    path = resolve(REPOSITORY, tmp_path).with_name(SHARDS[0])
    assert path.is_symlink()
    content = both.files[f"{FOLDER}/{SHARDS[0]}"]
    assert path.resolve().name == blob_sha256(path) == hashlib.sha256(content).hexdigest()
    assert blob_sha256(tmp_path / "pytorch_model.bin") is None
    (tmp_path / "current").symlink_to(path)
    assert open_checkpoint(tmp_path / "current").shapes == {"part.0": (2000,)}


def test_a_shard_that_the_hub_lacks(both, tmp_path):
    del both.files[f"{FOLDER}/{SHARDS[1]}"]
    with pytest.raises(CheckpointError, match=f"has no {FOLDER}/{SHARDS[1]}, which {INDEX} names"):
        resolve(REPOSITORY, tmp_path)
    assert not both.sent


def test_weights_that_the_repository_lacks(hub, tmp_path):
    with pytest.raises(CheckpointError, match="has no weights in elsewhere; it has some in s1_seg_finetune/") as caught:
        resolve(f"{REPOSITORY}:elsewhere", tmp_path)
    assert FOLDER in str(caught.value)
    for path in [path for path in hub.files if path.endswith(".bin")]:
        del hub.files[path]
    with pytest.raises(CheckpointError, match=r"has no weights in .*: check the id"):
        resolve(REPOSITORY, tmp_path)


def test_files_of_other_names(hub, tmp_path):
    hub.files = {"run/one.pth": bytes(2000)}
    assert resolve(f"{REPOSITORY}:run", tmp_path).name == "one.pth"
    hub.files["run/two.pth"] = bytes(3000)
    hub.commit = "d" * 40
    with pytest.raises(CheckpointError, match=r"has several files of weights, such as one.pth and two.pth: name one"):
        resolve(f"{REPOSITORY}:run", tmp_path / "other")


def test_a_disk_that_is_too_small_is_foreseen(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=40_000))
    with pytest.raises(XSamError, match=r"40.0 kB free, 50.0 kB are needed"):
        resolve(REPOSITORY, tmp_path / "cache")
    assert not hub.sent


def test_a_hash_that_is_none_names_no_file(hub, tmp_path):
    hub.commit = "../../escaped"
    with pytest.raises(CheckpointError, match=r"has '../../escaped' in the place of a hash; check HF_ENDPOINT"):
        resolve(REPOSITORY, tmp_path)


# Transfers that break


def test_a_connection_that_breaks_is_taken_up_again(hub, tmp_path):
    hub.breaks = [20_000, 10_000]
    notes = Notes()
    path = resolve(REPOSITORY, tmp_path, notes)
    assert path.read_bytes() == hub.files[f"{FOLDER}/pytorch_model.bin"]
    assert [(first, count) for _, first, count in hub.sent] == [(0, 20_000), (20_000, 10_000), (30_000, 20_000)]
    told = [step.done for step in notes.steps if step.unit == "bytes"]
    assert told == sorted(told) and told[-1] == 50_000


def test_the_next_run_goes_on_where_one_ended(hub, tmp_path):
    hub.breaks = [30_000, 0]
    with pytest.raises(CheckpointError, match=r"cannot download hao9610/X-SAM: .*goes on where this ended"):
        resolve(REPOSITORY, tmp_path)
    hub.sent.clear()
    notes = Notes()
    assert resolve(REPOSITORY, tmp_path, notes).read_bytes() == hub.files[f"{FOLDER}/pytorch_model.bin"]
    assert [(first, count) for _, first, count in hub.sent] == [(30_000, 20_000)]
    assert "50.0 kB, of which 30.0 kB are there" in notes.text[0]
    assert [path.name for path in tmp_path.rglob("*.incomplete")] == []


def test_a_server_without_ranges_sends_all_again(hub, tmp_path):
    hub.breaks, hub.ranges = [30_000], False
    assert resolve(REPOSITORY, tmp_path).read_bytes() == hub.files[f"{FOLDER}/pytorch_model.bin"]
    assert [count for _, _, count in hub.sent] == [30_000, 50_000]


def test_what_is_not_what_the_hub_said_is_removed(hub, tmp_path):
    hub.breaks = [30_000, 0]
    with pytest.raises(CheckpointError, match="cannot download"):
        resolve(REPOSITORY, tmp_path)
    (partial,) = tmp_path.rglob("*.incomplete")
    partial.write_bytes(b"x" * 30_000)
    with pytest.raises(
        CheckpointError, match=r"another SHA-256 than the hub tells; it was removed, run the same again"
    ):
        resolve(REPOSITORY, tmp_path)
    assert not partial.exists()
    assert resolve(REPOSITORY, tmp_path).read_bytes() == hub.files[f"{FOLDER}/pytorch_model.bin"]


def test_two_processes_do_not_write_one_file(hub, tmp_path):
    hub.breaks = [30_000, 0]
    with pytest.raises(CheckpointError):
        resolve(REPOSITORY, tmp_path)
    (partial,) = tmp_path.rglob("*.incomplete")
    with partial.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process is downloading"):
            resolve(REPOSITORY, tmp_path)


def test_a_cached_file_of_another_size_is_told(hub, tmp_path):
    path = resolve(REPOSITORY, tmp_path)
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(b"half")
    with pytest.raises(CheckpointError, match=rf"has 4 bytes, the hub's file has 50000; remove {path.resolve()}"):
        resolve(REPOSITORY, tmp_path)


# Without a network


@pytest.mark.parametrize("how", ["offline", "nobody answers"])
def test_without_a_network_what_is_there_is_taken(both, tmp_path, monkeypatch, how):
    path, notes = resolve(REPOSITORY, tmp_path), Notes()
    unreachable(monkeypatch, both, how)
    assert resolve(REPOSITORY, tmp_path, notes) == path
    assert resolve(f"{REPOSITORY}:{FOLDER}/{INDEX}", tmp_path) == path
    (note,) = notes.text
    assert note.startswith("the hub cannot be reached (") and note.endswith(f"taken as it is: {path}")


@pytest.mark.parametrize("how", ["offline", "nobody answers"])
def test_without_a_network_what_is_missing_is_named(both, tmp_path, monkeypatch, how):
    unreachable(monkeypatch, both, how)
    with pytest.raises(CheckpointError) as caught:
        resolve(REPOSITORY, tmp_path)
    assert "\n" not in str(caught.value)
    assert f"the cache has no pytorch_model.bin, model.safetensors or shards of {FOLDER}: check" in str(caught.value)
    assert f"copy {tmp_path / 'models--hao9610--X-SAM'} from a machine where `hf download " in str(caught.value)
    assert "or give the weights' own path with --checkpoint" in str(caught.value)


def test_without_a_network_a_missing_shard_is_named_and_may_be_put_there(both, tmp_path, monkeypatch):
    path = resolve(REPOSITORY, tmp_path)
    absent = path.with_name(SHARDS[1])
    absent.resolve().unlink()  # a link to nothing
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=f"the cache has no {SHARDS[1]} of {FOLDER}: .*put it into {path.parent}, or give"
    ):
        resolve(REPOSITORY, tmp_path)
    absent.unlink()
    absent.write_bytes(both.files[f"{FOLDER}/{SHARDS[1]}"])
    assert set(open_checkpoint(resolve(REPOSITORY, tmp_path))) == {"part.0", "part.1"}


def test_a_repository_that_does_not_exist(hub, tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot download hao9610/absent: .*check the id and the network"):
        resolve("hao9610/absent", tmp_path)


# Tokenizers


@pytest.fixture
def calls(monkeypatch, tmp_path):
    made: list[tuple[str, dict]] = []

    def snapshot_download(repository: str, **options: object) -> str:
        made.append((repository, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return made


def test_tokenizer(calls):
    assert download_tokenizer(get_variant("qwen3-4b")).is_dir()
    ((repository, options),) = calls
    assert repository == "Qwen/Qwen3-4B-Instruct-2507"
    assert options["allow_patterns"] == ["tokenizer*"]


def test_a_tokenizer_without_a_network_says_where_to_put_it(monkeypatch):
    def fail(repository: str, **options: object) -> str:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = r"cannot download the tokenizer of Qwen/Qwen3-1.7B: no route; .*--inits DIR, where DIR/Qwen3-1.7B holds"
    with pytest.raises(CheckpointError, match=message) as caught:
        download_tokenizer(get_variant("qwen3-1.7b"))
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
