"""The unified view of a stack of layers: pure, over layer indexes."""

from layerview.view.nodes import ChangedNode, Node
from layerview.view.union import Folder, Summary, UnionView

__all__ = ["ChangedNode", "Folder", "Node", "Summary", "UnionView"]
