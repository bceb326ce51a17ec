"""The Hugging Face hub: what went wrong there, in words that say what to do.

The hub is asked once, with a timeout and without retries, before anything is downloaded. So a
misspelt name or a machine without network is told at once, not after minutes of retries.
"""

from __future__ import annotations

import errno

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from selfrepair_assets.measurement.errors import InputError

TIMEOUT = 10.0
"""Seconds to wait for the hub's answer."""

ENDPOINT: str | None = None
"""The hub's address; None is the one that huggingface_hub is set to (`HF_ENDPOINT`)."""


class HubUnreachableError(InputError):
    """The hub did not answer, or offline mode forbids asking it."""


def explain(error: Exception, kind: str, name: str, revision: str | None = None) -> Exception:
    """The InputError that tells a user what `error` means; `error` itself if that is not known.

    Args:
        error: what huggingface_hub, or the HTTP library below it, raised.
        kind: what was asked for: `model` or `data set`.
        name: the repository as the user gave it.
        revision: the branch, tag or commit, if one was given.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, HFValidationError):
        return InputError(
            f"'{name}' is not a {kind} on the hub and not a path that exists. "
            "A hub name is written owner/name, as in EleutherAI/pythia-160m."
        )
    if isinstance(error, GatedRepoError):
        return InputError(
            f"The {kind} '{name}' is gated. Accept its terms on huggingface.co/{name}, "
            "then run `hf auth login` (or set HF_TOKEN) and try again."
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"The {kind} '{name}' has no revision '{revision}'. "
            f"Its branches and tags are on huggingface.co/{name}/tree/main."
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"The hub has no {kind} '{name}'. Check the spelling; "
            "for a private one run `hf auth login` (or set HF_TOKEN) first."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachableError(
            f"The {kind} '{name}' is not on this machine and HF_HUB_OFFLINE forbids asking the "
            "hub. Unset it, or give a local path."
        )
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return HubUnreachableError(
            f"The hub answered {error.response.status_code} when asked for the {kind} '{name}'. "
            "Try again later, or give a local path."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"The disk is full: no room for the {kind} '{name}'. "
            "Make room, or set HF_HOME to a folder on a larger disk."
        )
    is_transport = type(error).__module__.startswith(("httpx", "requests", "aiohttp"))
    if is_transport or isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError)):
        return HubUnreachableError(
            f"The hub cannot be reached for the {kind} '{name}' (is there a network?), "
            "and it is not on this machine yet. Connect, or give a local path."
        )
    return error
