"""A terminal inside the screen: bytes of a program in, cells out; keys in, bytes out.

Own work, because of what was to be had for Python in November 2026: pyte (LGPL) has no alternate
screen and takes a second for 300 kB, bittty has no scrollback and another interface every month,
the bindings of native emulators need Python 3.12 or come without source.
"""
