"""A fine-tuned checkpoint to a hub: the only place that sends anything, and only when it is asked to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laborllm.errors import LaborLLMError

CARD = "README.md"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
NAMES = frozenset(
    {
        CARD,
        "LICENSE",
        "LICENSE.txt",
        "NOTICE",
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    }
)
"""What a checkpoint consists of beside its weights; nothing else is ever sent."""
WARNING = (
    "The weights of a model that was fine-tuned on microdata may reveal them, and the survey's terms of use may forbid "
    "sharing them."
)


@dataclass(frozen=True)
class Upload:
    """What a push would send.

    Attributes:
        folder: of the checkpoint.
        sent: names of the files to be sent, sorted.
        left: names of what is beside them and stays, sorted.
        bytes: of the files to be sent.
    """

    folder: Path
    sent: tuple[str, ...]
    left: tuple[str, ...]
    bytes: int


def plan_upload(folder: Path) -> Upload:
    """The files of a checkpoint that a push would send; nothing is sent.

    Raises:
        LaborLLMError: the folder is no whole checkpoint, or has no model card.
    """
    if not folder.is_dir():
        raise LaborLLMError(f"{folder}: is no folder; give the checkpoint, OUT/models/NAME/checkpoint of a run")
    entries = sorted(entry.name for entry in folder.iterdir())
    sent = tuple(name for name in entries if _belongs(folder / name))
    if CARD not in sent:
        raise LaborLLMError(
            f"{folder}: has no model card ({CARD}); fine-tuned checkpoints of a run have one, write it for others: "
            "data, metrics, licence of the base model"
        )
    if "config.json" not in sent or not any(name.endswith(".safetensors") for name in sent):
        raise LaborLLMError(f"{folder}: holds no whole checkpoint (config.json and .safetensors); choose another")
    left = tuple(name for name in entries if name not in sent)
    return Upload(folder, sent, left, sum((folder / name).stat().st_size for name in sent))


def push(upload: Upload, repository: str, api: Any, *, public: bool = False) -> str:
    """Send a checkpoint to a repository of a hub, private unless told otherwise.

    Args:
        upload: what is sent.
        repository: "owner/name"; made if it is not there.
        api: of the hub, ``huggingface_hub.HfApi`` or what behaves like it.
        public: everybody may read it.

    Returns:
        The address of the repository.

    Raises:
        LaborLLMError: the environment asks for no network, or the repository is public and should not be.
    """
    require_online()
    owner, _, name = repository.partition("/")
    if not owner or not name or "/" in name:
        raise LaborLLMError(f"{repository!r} is no name of a repository; give OWNER/NAME")
    address = str(api.create_repo(repository, private=not public, exist_ok=True, repo_type="model"))
    if not public and not api.repo_info(repository, repo_type="model").private:
        raise LaborLLMError(
            f"{repository}: is there already and everybody can read it; make it private, choose another name, or give "
            "--public (nothing was sent)"
        )
    api.upload_folder(
        repo_id=repository,
        folder_path=str(upload.folder),
        repo_type="model",
        allow_patterns=list(upload.sent),
        commit_message="A checkpoint of laborllm",
    )
    return address


def require_online(variables: Sequence[str] = OFFLINE) -> None:
    """Refuse where the environment says that the hub must not be reached.

    Raises:
        LaborLLMError: one of the variables is set.
    """
    for name in variables:
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            raise LaborLLMError(f"{name} is set, so nothing is sent; unset it to push a checkpoint")


def _belongs(file: Path) -> bool:
    """Whether a file is part of a checkpoint; links are left, what they point to may be anything."""
    known = file.name in NAMES or file.name.endswith((".safetensors", ".safetensors.index.json"))
    return known and file.is_file() and not file.is_symlink()
