"""What made a layer is told as the Dockerfile said it."""

from __future__ import annotations

import pytest

from layerview.oci.config import History
from layerview.oci.instruction import instruction


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("/bin/sh -c #(nop) ADD file:8e49 in / ", "ADD file:8e49 in /"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c chmod -R g+rX /srv # buildkit", "RUN chmod -R g+rX /srv"),
        ("RUN |1 VERSION=3 /bin/sh -c make # buildkit", "RUN make"),
        ("COPY app/ /srv/ # buildkit", "COPY app/ /srv/"),
        ("RUN   a  \\\n  && b", "RUN a \\ && b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("", "(not recorded)"),
    ],
)
def test_an_instruction_loses_its_shell_prefix(recorded, shown):
    assert instruction(History(created_by=recorded)) == shown


def test_a_layer_without_history_says_so():
    assert instruction(None) == "(no history)"
