"""Load a dataset from the Hugging Face Hub: download it in chunks, or use the local cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.environment import check_download
from ..errors import DataError, HubError
from ..pretrained import hub
from ..pretrained.hub_access import Access
from ..text.plain_text import counted, shortened
from ..util.progress import Loading
from . import hub_csv

if TYPE_CHECKING:
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

UNKNOWN_LICENCE = "unknown"
CARD, SETTINGS_FILE = "README.md", ".huggingface.yaml"
_REMEDY = "download the file you want and give its path"
HUB_INFO_SECONDS = 10.0


def fetch(repo: str, loading: Loading) -> tuple[datasets.DatasetDict, str]:
    """Return all splits of ``repo`` and the licence on its card. ``loading`` reports progress and can cancel.

    Raises HubError if the Hub does not serve it, DataError if it cannot be used as it is.
    """
    loading.enter(f"Asking the Hub for {repo}")
    access = Access("dataset", repo)
    if not hub.hub_reachable():
        return _load_cached(repo, access), UNKNOWN_LICENCE
    licence = _fetch_licence(repo, access)
    loading.check()
    return _download(repo, access, loading), licence


def _fetch_licence(repo: str, access: Access) -> str:
    """Return the licence on the dataset's card, after checking that the Hub grants access to the dataset."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx  # its own: the package httpx has other error classes

    api = HfApi(token=access.token)
    try:
        info = api.dataset_info(repo, timeout=HUB_INFO_SECONDS)
        # Checked here, since load_dataset reports "not found" for both a gated and a missing dataset.
        if info.gated:
            api.auth_check(repo, repo_type="dataset")
        _check_card(repo, access, {entry.rfilename for entry in info.siblings or []})
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise hub.explain(error, repo) from error
    licence = info.card_data.license if info.card_data else None
    return ", ".join(licence) if isinstance(licence, list) else licence or UNKNOWN_LICENCE


def _check_card(repo: str, access: Access, names: Collection[str]) -> None:
    """Raise DataError if the dataset's card loads rows from outside the Hub.

    ``load_dataset_builder`` would send requests there, from inside the host's network.
    """
    from huggingface_hub import hf_hub_download, metadata_load
    from yaml import YAMLError

    if SETTINGS_FILE in names:
        raise DataError(
            f"{repo} says in {SETTINGS_FILE} where its rows are, which this lab does not follow: {_REMEDY}."
        )
    if CARD not in names:
        return
    try:
        card = metadata_load(hf_hub_download(repo, CARD, repo_type="dataset", token=access.token)) or {}
    except YAMLError as error:
        raise DataError(f"The card of {repo} is damaged: {_REMEDY}.") from error
    if address := next(_addresses(card.get("configs")), None):
        raise DataError(f"The card of {repo} takes rows from {address[:80]!r}, outside the Hub: {_REMEDY}.")


def _addresses(part: Any) -> Iterator[str]:
    """Yield every URL in a card's ``configs`` that is not on the Hub."""
    if isinstance(part, str):
        if "://" in part and not part.startswith("hf://"):
            yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _addresses(value)
    elif isinstance(part, list):
        for value in part:
            yield from _addresses(value)


def _download(repo: str, access: Access, loading: Loading) -> datasets.DatasetDict:
    import datasets
    from huggingface_hub.utils import httpx

    try:
        builder = datasets.load_dataset_builder(repo, token=access.token)
        files = _fetch_files(repo, access, builder.config.data_files, loading)
        loading.enter(f"Preparing {repo}")
        options: dict[str, Any] = {}
        if hub_csv.is_csv(builder):
            options = hub_csv.options(typed=bool(builder.info.features))
            for name, file in files.items():
                hub_csv.check_shape(f"{name} of {repo}", file, builder.config)
        splits = datasets.load_dataset(repo, token=access.token, **options)
    except (datasets.exceptions.DatasetsError, RuntimeError) as error:
        raise _unusable_error(repo, error) from error
    except (httpx.HTTPError, OSError) as error:
        raise hub.explain(error, repo) from error
    except ValueError as error:  # last, since some of the Hub's errors are ValueErrors too
        raise _unusable_error(repo, error) from error
    access.record(builder.hash)
    return splits


def _fetch_files(
    repo: str, access: Access, data_files: Mapping[str, Sequence[str]] | None, loading: Loading
) -> dict[str, Path]:
    """Download the files that load_dataset needs into the Hub's cache, where it finds them; returns their paths.

    load_dataset would download them itself, but without progress and without a way to cancel. Here each chunk is
    counted and can be the last. No partial file is left behind.
    """
    from huggingface_hub import HfApi, HfFileSystem, RepoFile
    from huggingface_hub.hf_file_system import HfFileSystemResolvedRepositoryPath

    names = dict.fromkeys(name for files in (data_files or {}).values() for name in files if name.startswith("hf://"))
    resolved = [HfFileSystem(token=access.token).resolve_path(name) for name in names]
    files = [file for file in resolved if isinstance(file, HfFileSystemResolvedRepositoryPath)]
    if not files:
        return {}
    revision = files[0].revision
    paths = [file.path_in_repo for file in files]
    sizes = {
        each.path: each.size
        for each in HfApi(token=access.token).get_paths_info(repo, paths, repo_type="dataset", revision=revision)
        if isinstance(each, RepoFile)
    }
    check_download(repo, sum(sizes.values()))
    loading.enter(f"Downloading {repo} ({counted(len(paths), 'file')})", sum(sizes.values()))
    file_sizes = {path: sizes.get(path, 0) for path in paths}
    which = {"repo_type": "dataset", "revision": revision, "token": access.token}
    last = hub.download_all(repo, file_sizes, loading, **which)
    root = last.parents[len(Path(paths[-1]).parts) - 1]
    return {path: root / path for path in paths}


def _unusable_error(repo: str, error: Exception) -> DataError:
    reason = shortened(" ".join(str(error).split()), 200, "...")
    return DataError(
        f"{repo} cannot be used as the Hub has it ({reason}): download the file you want and give its path."
    )


def _load_cached(repo: str, access: Access) -> datasets.DatasetDict:
    """Load the cached copy of an earlier load_dataset, as the library does when offline."""
    from datasets import config
    from huggingface_hub import constants

    try:
        builder = _cached_builder(repo)
        if not access.is_known(builder.hash):
            raise ValueError("The Hub cannot say whether everybody may have this copy.")
        return builder.as_dataset()
    except (ValueError, KeyError, OSError) as error:  # missing, incomplete, or not public
        raise HubError(
            f"The Hub cannot be reached ({constants.ENDPOINT} was tried for {hub.PROBE_SECONDS:.0f} s at most), and "
            f"{config.HF_DATASETS_CACHE} has no usable copy of {repo}: "
            "use the bundled dataset (data.source=bundled) or a local file, or try again with a network."
        ) from error


def _cached_builder(repo: str) -> Cache:
    """Return what reads the cached copy that ``_download`` made, of CSV or of another format. Raises ValueError."""
    from datasets import BuilderConfig, config
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    owner, _, name = repo.partition("/")
    copies = Path(config.HF_DATASETS_CACHE, f"{owner}___{camelcase_to_snakecase(name)}")
    options: dict[str, Any] = {}
    for csv in (hub_csv.options(typed=False), hub_csv.options(typed=True)):
        # What ``datasets`` puts behind the name of a configuration in its cache for these options.
        suffix = BuilderConfig("default").create_config_id(csv).removeprefix("default")
        for copy in copies.glob(f"*{suffix}"):
            options = {"config_name": copy.name.removesuffix(suffix), **csv}
    return Cache(repo_id=repo, dataset_name=name, version="auto", hash="auto", **options)
