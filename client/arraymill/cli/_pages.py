"""Memory-mapped pages that are done with."""

from __future__ import annotations

import mmap


def drop_pages(pages: mmap.mmap) -> None:
    """Take the resident pages of a shared mapping out of this process.

    Their contents stay in the system's cache, and written ones are still written to the file: this only keeps a
    process that walks through a file of many GiB small. Touching a page maps it again.
    """
    if hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
