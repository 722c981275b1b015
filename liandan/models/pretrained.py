"""Where the published weights of a model lie. Says where; fetches nothing."""

from __future__ import annotations


def published(name: str) -> tuple[str, str] | None:
    """(repository, file) on the model hub of a timm model's default weights, None for models without a file there."""
    prefix, _, short = name.partition("/")
    if prefix != "timm":
        return None
    import timm

    config = timm.get_pretrained_cfg(short)
    if config is None or not config.hf_hub_id:
        return None
    # timm's own spelling when the id is all there is: the repository is named after the tagged model
    repository = config.hf_hub_id if config.hf_hub_id != "timm/" else f"timm/{config.architecture}.{config.tag}"
    return repository, config.hf_hub_filename or "model.safetensors"
