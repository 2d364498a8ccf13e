"""What every store does, whatever keeps the bytes."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.ir.location import user_location
from traceprop.stores.blobs import Blob
from traceprop.stores.header import read_header
from traceprop.stores.pack import packed
from traceprop.stores.run import Checked, Run, Size, check_name, cutoff
from traceprop.stores.unpack import Shelf, StoredView, unpacked


class AbstractStore(ABC):
    """Runs under names. Of several runs of one name the newest is the one that the name means.

    A run is there whole or not at all: `save` returns once it would survive a loss of power, and what is interrupted before
    leaves nothing. Any number of processes and threads may use one store at a time.
    """

    place: str
    """What the store is called in messages."""

    # -- what users call ----------------------------------------------------------------------------------------------

    def save(self, x: Any, name: str, metadata: Mapping[str, Any] | None = None) -> Run:
        """Saves the lineage of a lazy value, of a list or dict of them, or of a view, and gives what is listed of it.

        The values themselves are not saved: write them to a file as ever, and give `store.load(name)` as `lineage=` where it
        is read again. Runs what has not run. Other runs of the name stay, and are reached by `load(name, run=id)`.
        `metadata`: whatever JSON holds.
        """
        check_name(name)
        content = packed(x)
        run = Run.new(name, str(user_location() or ""), metadata, content.size)
        self._write(run, content.header, content.blobs)
        return run

    def load(self, name: str | None = None, run: str | None = None) -> StoredView:
        """The view of a saved run: the newest of the name, or the one whose id is `run`.

        Opening reads the header alone. Raises `StoreError` that names near names where there is none.
        """
        if name is None and run is None:
            raise StoreError("load takes the name of a run, or its id as run=")
        for given in (name, run):
            if given is not None:
                check_name(given)
        found = self._find(name, run)
        if found is None:
            raise StoreError(self._unknown(name, run))
        listed, header = found
        return unpacked(listed, header, lambda digest: self._fetch(listed.id, digest), self.place)

    def runs(self, name: str | None = None) -> list[Run]:
        """What is in the store, oldest first; with `name`, the runs of that name."""
        return self._list(name)

    def check(self) -> Checked:
        """Reads everything. Raises `CorruptError` that names all that is damaged or missing; `.problems` lists it."""
        from rich.console import Console
        from rich.progress import track

        problems = list(self._problems())
        listed = self._list(None)
        seen: set[str] = set()
        bar = Console(stderr=True)
        for run in track(listed, "checking", console=bar, transient=True, disable=not bar.is_terminal):
            problems += self._problems_of(run, seen)
        if problems:
            shown = "\n".join(f"- {problem}" for problem in problems[:20])
            more = f"\n… and {len(problems) - 20} more" if len(problems) > 20 else ""
            error = CorruptError(f"{self.place} is damaged in {len(problems)} places:\n{shown}{more}")
            error.problems = problems  # type: ignore[attr-defined]
            raise error
        return Checked(len(listed), len(seen))

    def prune(self, older_than: Any = None, keep: int | None = None, name: str | None = None) -> list[Run]:
        """Removes runs, and the bytes that no other run uses; gives those that are gone.

        `older_than`: only runs older than that (a `timedelta`, a number of days, or a datetime). `keep`: the newest so many
        stay in any case. With `name`, of the runs of that name.
        """
        if older_than is None and keep is None:
            raise StoreError("prune takes older_than= or keep=, or both: say what may go")
        if keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 0):
            raise StoreError(f"keep= is how many of the newest runs stay, not {keep!r}")
        listed = self._list(name)
        going = listed[: max(len(listed) - keep, 0)] if keep is not None else listed
        if older_than is not None:
            before = cutoff(older_than)
            going = [run for run in going if run.saved < before]
        if going:
            self._remove([run.id for run in going])
        return going

    def size(self) -> Size:
        """The bytes that the store takes where it is kept, and what they are for."""
        return self._measure()

    @abstractmethod
    def close(self) -> None:
        """Lets go of connections and files. The store opens again when it is asked."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place}>"

    # -- what a store brings ------------------------------------------------------------------------------------------

    @abstractmethod
    def _write(self, run: Run, header: bytes, blobs: Sequence[Blob]) -> None:
        """Writes a run whole, so that it survives a crash, or leaves the store as it was and raises `StoreError`."""

    @abstractmethod
    def _list(self, name: str | None) -> list[Run]:
        """The runs, oldest first."""

    @abstractmethod
    def _find(self, name: str | None, run: str | None) -> tuple[Run, bytes] | None:
        """The newest run of a name, or the one of an id, with its header. Raises `CorruptError` for a damaged one."""

    @abstractmethod
    def _fetch(self, run: str, digest: str) -> bytes | None:
        """The bytes of a blob of a run; `None` where they are missing."""

    @abstractmethod
    def _remove(self, runs: Sequence[str]) -> None:
        """Removes runs by id, and what only they used."""

    @abstractmethod
    def _measure(self) -> Size:
        """What the store takes."""

    def _problems(self) -> Iterator[str]:
        """What is wrong with whatever keeps the bytes."""
        yield from ()

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _problems_of(self, run: Run, seen: set[str]) -> Iterator[str]:
        what = f"the run {run.name[:100]!r} ({run.id})"
        try:
            found = self._find(None, run.id)
            if found is not None:  # else it was pruned since it was listed
                header = read_header(found[1], f"the header of {what} in {self.place}")
                yield from Shelf(header, lambda digest: self._fetch(run.id, digest), what, self.place).problems(seen)
        except (CorruptError, NewerVersionError) as error:
            yield str(error)

    def _unknown(self, name: str | None, run: str | None) -> str:
        listed = self._list(None)
        if run is not None:
            of = f" called {name!r}" if name is not None else ""
            return f"{self.place} has no run{of} with the id {run!r}"
        names = list(dict.fromkeys(each.name for each in listed))
        if not names:
            return f"{self.place} has no run {name!r}: it is empty"
        near = difflib.get_close_matches(str(name), names, 3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {_some(names)}"
        return f"{self.place} has no run {name!r}; {hint}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 60 else f"{name[:60]}…") for name in names[-8:])
    return f"{len(names)} names, the last of them {shown}" if len(names) > 8 else shown
