"""The unified view of a stack of layers: pure, over layer indexes."""

from layerview.view.folder import Folder
from layerview.view.nodes import ChangedNode, Node
from layerview.view.summary import Summary
from layerview.view.union import UnionView

__all__ = ["ChangedNode", "Folder", "Node", "Summary", "UnionView"]
