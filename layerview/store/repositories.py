"""repositories.json: which reference names which image (moby's reference store)."""

from __future__ import annotations

import json

from layerview.errors import FormatError, NotFoundError
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields, load_json
from layerview.oci.reference import Reference
from layerview.store.durable import make_folders, read_small, write_file
from layerview.store.finding import reference_key
from layerview.store.layout import Layout
from layerview.text import printable


class Repositories:
    """The references of one driver's images, read for changing them."""

    def __init__(self, layout: Layout) -> None:
        """Read the file.

        Raises:
            FormatError: when it does not have the form that Docker gives it.
        """
        self._path = layout.repositories
        self._base = layout.base
        self._document: dict[str, object] = {}
        self._named: dict[str, dict[str, str]] = {}
        try:
            data = read_small(self._path)
        except NotFoundError:
            return
        if not data.strip():
            return
        document = load_json(data, self._path)
        if not isinstance(document, dict):
            raise FormatError(f"{printable(self._path)} is no JSON object")
        self._document = document
        for name, tags in Fields(document, self._path).mapping("Repositories").items():
            self._named[name] = dict(Fields({"tags": tags}, self._path).text_map("tags"))

    def of(self, image_id: Digest) -> list[str]:
        """Return an image's references as Docker prints them, sorted."""
        wanted = str(image_id)
        return sorted(
            reference
            for tags in self._named.values()
            for reference, named in tags.items()
            if named == wanted
        )

    def all(self) -> dict[str, str]:
        """Return every reference and the image ID that it names, as text."""
        return {ref: image for tags in self._named.values() for ref, image in tags.items()}

    def get(self, reference: Reference) -> str | None:
        """Return the image ID that a reference names."""
        return self._named.get(reference.familiar_name, {}).get(reference_key(reference))

    def set(self, reference: Reference, image_id: Digest) -> str | None:
        """Let a reference name an image; return the image ID that it named before."""
        tags = self._named.setdefault(reference.familiar_name, {})
        key = reference_key(reference)
        before = tags.get(key)
        tags[key] = str(image_id)
        return before

    def remove(self, familiar: str) -> bool:
        """Take a reference away; whether it was there."""
        for name, tags in list(self._named.items()):
            if familiar in tags:
                del tags[familiar]
                if not tags:
                    del self._named[name]
                return True
        return False

    def write(self, scratch: str) -> None:
        """Put the file in place, as Docker writes it."""
        document = {**self._document, "Repositories": self._named}
        data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        make_folders(self._base)
        write_file(self._path, data, scratch=scratch)
