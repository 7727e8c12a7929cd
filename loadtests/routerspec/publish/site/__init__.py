"""The published results as a static site: an index, and a page for each router and version.

Pure: results -> files. Nothing is fetched from anywhere; the one script of the index sorts and
filters, and without it the index is a table with everything in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routerspec.publish.rules import Background, Published
from routerspec.publish.site import index, result

PAGE = "index.html"


def pages(
    results: Sequence[Published], backgrounds: Mapping[str, Background], others: Sequence[str] = ()
) -> dict[str, str]:
    """Name within the reports -> content, of every page.

    ``backgrounds``: place of a result -> what is known of its router. ``others``: names of further
    pages beside the index, which it links.
    """
    made = {PAGE: index.render(results, others)}
    for its in results:
        same = [each for each in results if each.infos[0].target == its.infos[0].target]
        background = backgrounds.get(its.place, Background())
        made[f"{its.place}/{PAGE}"] = result.render(its, background, same)
    return made
