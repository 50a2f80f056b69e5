"""Pages on their way from an adapter to the store: nothing that a plugin can hang or spoil goes on from here.

`turn` comes here. Whatever is lazy is read here, on the turn's own thread, before the store's one writer sees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from runlink.daemon.errors import AdapterMisbehaved
from runlink.spi import Observation, Page

MAX_REPEATS = 10
"""How often a turn may give the same page before it is taken to run in a circle."""
MAX_EMPTY = 10_000
"""The same for pages that tell nothing: heartbeats, and jobs without news."""


def checked(pages: Iterator[Page], check: Callable[[], None], wants: Callable[[str], bool] | None) -> Iterator[Page]:
    """The pages, read to the end, without workflows that are not wanted.

    `check` is called round each step and ends the iteration by what it raises. Raises AdapterMisbehaved for what is no
    page, and for a feed that runs in a circle.
    """
    seen: Counter[int] = Counter()
    for page in streamed(pages, check, wants):
        mark = hash((tuple(_mark(o) for o in page.observations), tuple(sorted(page.cursors.items())), page.gone))
        seen[mark] += 1
        empty = not (page.observations or page.cursors or page.gone or page.unreadable)
        if seen[mark] > (MAX_EMPTY if empty else MAX_REPEATS):
            raise AdapterMisbehaved(f"it gave the same page {seen[mark]} times, with cursors {_short(page)}")
        yield page


def streamed(pages: Iterator[Page], check: Callable[[], None], wants: Callable[[str], bool] | None) -> Iterator[Page]:
    """The same for a stream, which may say the same for ever."""
    check()
    for given in pages:
        check()
        page = _settled(given)
        if wants is not None:
            kept = tuple(o for o in page.observations if wants(o.workflow))
            page = Page(observations=kept, cursors=page.cursors, gone=page.gone, unreadable=page.unreadable)
        yield page
    check()


def _settled(page: object) -> Page:
    """The page with nothing lazy in it."""
    if not isinstance(page, Page):
        raise AdapterMisbehaved(f"it gave {type(page).__name__} where a Page belongs")
    settled = Page(
        observations=tuple(page.observations),
        cursors=dict(page.cursors),
        gone=tuple(page.gone),
        unreadable=tuple(page.unreadable),
    )
    for observation in settled.observations:
        if observation.__class__ is not Observation:
            raise AdapterMisbehaved(f"its page holds {type(observation).__name__} where an Observation belongs")
    for partition in settled.cursors:
        if not isinstance(partition, str):
            raise AdapterMisbehaved(f"its page names the partition {partition!r}; partitions are named by text")
    if not all(isinstance(name, str) for name in settled.gone):
        raise AdapterMisbehaved("its page's `gone` holds something else than external ids, which are text")
    return settled


def _mark(o: Observation) -> tuple[object, ...]:
    return (o.external_id, o.status, o.attempt)


def _short(page: Page) -> str:
    text = str(dict(list(page.cursors.items())[:3]))
    return text if len(text) <= 200 else f"{text[:199]}…"
