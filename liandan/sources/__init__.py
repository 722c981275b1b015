"""What can be fetched, from where, proven by its hash, to a local path. No torch.

    catalogue  the table: one entry a data set
    entry      what an entry says: File, Source, and the protocol of a way
    ways       how a file can come: an installed Python package, HTTP, a model hub
    clients    and by package clients: npm, pip, apt
    download   HTTP with resume
    unpack     archives, without trusting them
    prepare    from what came to plain files that the readers know; the longer ones: stamps, scenes, smollm
    store      the cache: lock, fetch, verify, publish
    hub        single files of model hubs, through huggingface_hub
"""

from liandan.sources.catalogue import SOURCES
from liandan.sources.entry import File, Progress, Source, SourceError
from liandan.sources.hub import cached, hub_file, hub_folder
from liandan.sources.store import get, home

__all__ = ["SOURCES", "File", "Progress", "Source", "SourceError", "cached", "get", "home", "hub_file", "hub_folder"]
