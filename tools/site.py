"""Generator of the guide as files, and the check of its links.

    python -m tools.site

It writes the pages that the service shows at /guide to build/site, where they open from the file
system, and fails if a page is missing in the navigation or a link leads nowhere.
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from service.guide.site import STATIC, BrokenLinkError, Site

ROOT: Final = Path(__file__).parents[1]


def main(folder: Path = ROOT / "build" / "site", sources: Path = ROOT) -> int:
    """Write the files to `folder`, which is replaced; return the exit status, 1 for bad links."""
    site = Site(sources, STATIC)
    try:
        site.check()
    except BrokenLinkError as error:
        print(error, file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    for address, make in site.contents.items():
        path = folder / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
