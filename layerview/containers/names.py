"""Containers' IDs and names: random digits, and an adjective with a scientist's surname."""

from __future__ import annotations

import os
import re

from layerview.errors import UsageError
from layerview.text import printable

_NAME = r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+"
"""moby, daemon/names."""

_ADJECTIVES = """
    able airy alert ample apt astute avid balmy basic bold brave breezy bright brisk busy calm
    candid careful casual chatty cheery chief civil clean clear clever cloudy cosmic cozy crisp
    curious daring dapper deft dewy direct distant dreamy dusty eager early earnest easy elastic
    elated elegant epic exact fair fancy fearless fine fluent fond frank free fresh frosty gentle
    giddy glad gleaming golden grand grateful handy happy hardy hasty hearty helpful hidden honest
    humble hushed ideal jaunty jolly jovial keen kind lasting lavish lazy level light likely lively
    loyal lucid lucky lunar mellow merry mighty mild misty modest narrow neat nimble noble novel
    open orderly patient perky placid plain polite prime proud prudent punctual quaint quick quiet
    ready regal robust rosy rustic sage serene sharp shiny silent simple sleek sleepy smooth snappy
    sober solar solid spry steady stellar stoic subtle sunny swift tame tender tidy timely tranquil
    trusty upbeat urban useful vast vivid warm wavy wild wily windy wise witty worthy young zesty
"""
_SURNAMES = """
    abel adams agnesi alhazen ampere anning archimedes aristarchus aryabhata avogadro babbage
    banneker bardeen becquerel bell bernoulli bessel bhaskara bohr boltzmann boole born bose boyle
    brahe brahmagupta brown cannon cantor carnot carson cauchy cavendish celsius chandrasekhar
    chatelet church clausius copernicus coulomb crick curie cuvier dalton darwin davy descartes
    dijkstra diophantus dirac doppler dyson eddington edison ehrlich einstein elion engelbart
    eratosthenes euclid euler faraday fermat fermi feynman fibonacci fleming foucault fourier
    franklin fresnel galileo galois galvani gauss germain gibbs godel goodall haber halley hamilton
    harvey hawking heisenberg helmholtz hero herschel hertz hilbert hipparchus hodgkin hooke hopper
    hubble humboldt huygens hypatia ibnsina jacobi jenner joliot joule kepler khwarizmi kirchhoff
    koch kolmogorov kovalevskaya lagrange lamarck laplace lavoisier leavitt leeuwenhoek leibniz
    linnaeus lorentz lovelace lyell mach mandelbrot margulis marconi markov maxwell mayer mcclintock
    meitner mendel mendeleev mirzakhani morse nash nernst neumann newton noether ohm oppenheimer
    ostrom pascal pasteur pauli pavlov payne perlman planck poincare poisson priestley ptolemy
    pythagoras raman ramanujan rayleigh riemann ritchie rontgen rubin rutherford sagan salk
    schrodinger shannon shockley snow somerville stokes swan tesla thales thomson torricelli turing
    tycho vesalius volta wallace watson watt weierstrass wiener wien wilkins wu yonath zeno zuse
"""


def new_id() -> str:
    """Return a new container's ID: 64 random hexadecimal digits, a hash of nothing."""
    return os.urandom(32).hex()


def random_name(number: int | None = None) -> str:
    """Make up a name.

    Args:
        number: stands behind it where those without one were taken.
    """
    # The module secrets costs as much time as all else here together.
    first, second = os.urandom(4), os.urandom(4)
    words = [(_ADJECTIVES.split(), first), (_SURNAMES.split(), second)]
    name = "_".join(known[int.from_bytes(drawn, "little") % len(known)] for known, drawn in words)
    return name if number is None else f"{name}{number}"


def check_name(name: str) -> str:
    """Return a name as Docker would take it, without a slash in front.

    Raises:
        UsageError: when it is none.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{printable(name[:80])!r} is no container's name: two or more letters, digits and"
            " _.- make one, a letter or digit first"
        )
    return name.removeprefix("/")
