"""What the Image screen says about a file and about a layer: marks, one line, facts."""

from __future__ import annotations

from typing import NamedTuple

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.glyphs import Glyphs
from layerview.tui.opened import LayerState, OpenedImage, Status
from layerview.tui.tree_sources import Weight
from layerview.tui.widgets.chrome import Piece, muted, plain, strong
from layerview.tui.widgets.details import BLANK, Fact
from layerview.tui.widgets.stack import Mark
from layerview.tui.words import count_of, no_layer_words, numbers, time_words, why_wasted
from layerview.view.nodes import ChangedNode, Node
from layerview.view.resolve import Resolution


class Subject(NamedTuple):
    """What the screen is about: the pieces of its subject row."""

    groups: list[list[Piece]]
    right: list[Piece]
    short: list[Piece]
    """For the area bar of a small window."""


def describe(opened: OpenedImage, binary: bool, glyphs: Glyphs) -> Subject:
    """Say what an image is, and how far it has been read."""

    def words(size: int | None) -> str:
        return glyphs.ellipsis if size is None else format_size(size, binary=binary)

    image, total = opened.image, opened.total_size
    name = strong(printable(opened.name))
    groups: list[list[Piece]] = [[name]]
    short: list[Piece] = [name, plain("   " + words(total))]
    if image.image_id is not None:
        groups.append([muted(image.image_id.short)])
    groups.append([strong(words(total)), muted(f" in {count_of(len(opened.layers), 'layer')}")])
    if opened.is_reading:
        reading = opened.reading()
        groups.append([muted(reading + ", "), strong("Esc"), muted(" stops")])
        short = [name, muted(f"  {reading}, Esc stops")]
    else:
        whole = opened.view.summary(b"") if opened.summed else None
        groups.append([strong(words(whole.bytes if whole else None)), muted(" unified")])
        if opened.stopped:
            groups.append([strong("stopped", "warning"), muted(", r reads on")])
            short.append(("  stopped, r reads on", "warning", True))
        elif opened.waste is not None and opened.waste.wasted_bytes:
            wasted = words(opened.waste.wasted_bytes)
            groups.append([strong(wasted, "warning"), (" wasted", "warning", False)])
            short.append((f"  {wasted} wasted", "warning", True))
        if whole is not None:
            groups.append([strong(f"{whole.files:,}"), muted(" files")])
    right = [muted(image.platform)]
    if image.config.created:
        right.append(muted("   " + time_words(image.config.created)[:10]))
    return Subject(groups, right, short)


def about(
    node: Node, weight: Weight | None, opened: OpenedImage, binary: bool
) -> list[tuple[str, str]]:
    """Say something about what has no content, in lines with the variables of their colours."""
    if node.type == "whiteout":
        hides = format_size(node.hides if isinstance(node, ChangedNode) else 0, binary=binary)
        return [(f"layer {node.layer} deletes this path; {hides} below are hidden", "muted")]
    if weight is None:
        return [(f"a {node.type}; it has no content", "muted")]
    size, by_layer = weight
    if size is None:
        return []
    lines = [(f"{format_size(size, binary=binary)} in this folder and below", "foreground")]
    for layer, held in sorted(by_layer.items(), key=lambda item: -item[1])[:12]:
        held_words = format_size(held, binary=binary)
        lines.append((f"layer {layer:<3} {held_words:>10}   {opened.instruction(layer)}", "muted"))
    return lines


def search_marks(resolution: Resolution, binary: bool) -> dict[int, Mark]:
    """Return what the search for a file says at each layer."""
    marks: dict[int, Mark] = {}
    cover: int | None = None
    ladder = list(resolution.ladder)
    modes = [rung.node.mode for rung in ladder if rung.node is not None]
    for rung in ladder:
        node = rung.node
        size = mode = reason = ""
        differs = False
        if node is not None:
            size = node.type if node.type != "file" else format_size(node.size, binary=binary)
            if node.is_dir:
                size = "folder"
            mode = f"{node.mode:04o}" if node.layer is not None else ""
        if rung.state == "winner":
            reason = "this one"
            differs = len(modes) > 1 and modes[0] != modes[1]
        elif rung.state == "hidden":
            if node is not None and node.is_dir and resolution.node is not None:
                reason = "merged in" if resolution.node.is_dir else f"hidden by {cover}"
            else:
                reason = f"hidden by {cover}" if cover is not None else "hidden"
        if rung.state in ("winner", "hidden", "whiteout", "opaque"):
            cover = rung.layer
        marks[rung.layer] = Mark(rung.state, size, mode, differs, reason)
    return marks


def insight(
    node: Node, resolution: Resolution, opened: OpenedImage | None, binary: bool, sign: str
) -> tuple[str, str]:
    """Say in one line what is worth knowing about a file; return the line and its colour."""
    name = printable(node.name) or "/"
    missing = [rung.layer for rung in resolution.ladder if rung.state == "unknown"]
    if opened is not None and opened.finished and missing and not resolution.certain:
        return f"{sign} layer {numbers(missing)} is not here and may change {name}.", "warning"
    if resolution.loop:
        return f"{sign} the links of {name} go round in a circle.", "error"
    versions = [rung for rung in resolution.ladder if rung.node is not None]
    whiteout = next((rung for rung in resolution.ladder if rung.state == "whiteout"), None)
    if not resolution.exists and resolution.links:
        return f"{name} leads to /{printable(resolution.resolved)}, which is not there.", "muted"
    if not resolution.exists and whiteout is not None:
        return f"{sign} {whiteout.layer} deletes {name}; its bytes still ship.", "warning"
    if resolution.node is None or resolution.node.is_dir or resolution.layer is None:
        made = "" if opened is None or node.layer is None else opened.instruction(node.layer)
        return (f"{node.layer}: {made}" if made else ""), "muted"
    top = versions[0].node
    assert top is not None
    if len(versions) > 1 and versions[0].state == "winner":
        below = versions[1].node
        assert below is not None
        other = versions[1].layer
        if top.kind == below.kind and top.size == below.size and top.mode != below.mode:
            return (
                f"{sign} {versions[0].layer} copies {name} whole; its mode differs from {other}.",
                "warning",
            )
        hidden = format_size(below.size, binary=binary)
        return (
            f"{sign} {versions[0].layer} replaces {name} of {other}; {hidden} there are hidden.",
            "warning",
        )
    made = "" if opened is None else opened.instruction(resolution.layer)
    return f"{resolution.layer}: {made}", "muted"


def layer_facts(opened: OpenedImage, number: int, binary: bool, glyphs: Glyphs) -> list[Fact]:
    """Return the facts about one layer, for its details."""
    layer: LayerState = opened.layers[number]
    source = layer.source
    facts: list[Fact] = []
    if layer.status is Status.MISSING:
        facts.append(
            Fact("not here", source.missing_reason or "its blob is not here", color="warning")
        )
    if layer.damage:
        facts.append(Fact(glyphs.waste, printable(layer.damage), color="error"))
    counts = opened.change_words(number)
    if counts:
        facts.append(Fact("changes", counts))
    cause = opened.causes.get(number)
    if cause is not None and cause.total:
        for place, sentence in enumerate(
            why_wasted(cause, opened.mode_change(number), glyphs.arrow)
        ):
            facts.append(Fact("why wasted" if place == 0 else "", sentence))
    if source.digest is not None:
        compressed = ""
        if source.compressed_size is not None:
            compressed = format_size(source.compressed_size, binary=binary)
            if source.compression and source.compression != "none":
                compressed += f" {source.compression}"
        facts.append(Fact("digest", _cut_digest(str(source.digest), glyphs.ellipsis), compressed))
    if source.diff_id is not None:
        state = {True: "verified", False: "does not match", None: ""}[layer.verified]
        facts.append(Fact("DiffID", _cut_digest(str(source.diff_id), glyphs.ellipsis), state))
    if source.chain_id is not None:
        facts.append(Fact("ChainID", _cut_digest(str(source.chain_id), glyphs.ellipsis)))
    history = source.history
    if history is not None:
        facts.append(Fact("created", time_words(history.created)))
        if history.comment:
            facts.append(Fact("comment", printable(history.comment)))
    if cause is not None and cause.largest:
        facts.append(BLANK)
        for place, (size, path) in enumerate(cause.largest[:3]):
            facts.append(
                Fact(
                    "largest copies" if place == 0 else "",
                    printable(path),
                    right=format_size(size, binary=binary),
                    indent=17,
                    cut_start=True,
                )
            )
    empty = [row.history for row in opened.image.history if row.layer is None and row.history]
    if empty:
        facts.append(BLANK)
        facts.append(Fact("no layer", "   ".join(no_layer_words(empty))))
    odd = layer.index.warnings if layer.index is not None else ()
    for words in (*odd, *opened.image.damage, *opened.image.warnings):
        facts.append(BLANK)
        facts.append(Fact(glyphs.waste, printable(words), color="warning", indent=2))
    return facts


def _cut_digest(text: str, ellipsis: str) -> str:
    algorithm, _, digits = text.partition(":")
    return f"{algorithm}:{digits[:16]}{ellipsis}"
