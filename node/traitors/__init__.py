"""The traitors: strategies by name, one lie a file, and a user's own from `module:Class`."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import Any, get_type_hints

import msgspec

from node.control import Role
from node.traitors.crasher import Crasher
from node.traitors.delayer import Delayer
from node.traitors.flip import Flip
from node.traitors.flooder import Flooder
from node.traitors.forger import Forger
from node.traitors.last_round import LastRound
from node.traitors.malformer import Malformer
from node.traitors.many_faced import ManyFaced
from node.traitors.padder import Padder
from node.traitors.parity import Parity
from node.traitors.random_values import RandomValues
from node.traitors.replayer import Replayer
from node.traitors.script import Script
from node.traitors.silent import Silent
from node.traitors.slow_loris import SlowLoris
from node.traitors.splicer import Splicer
from node.traitors.traitor import (
    Power,
    Seat,
    Strategy,
    Traitor,
    Trigger,
    parameters,
    takes_others,
)
from node.traitors.twins import Twins
from node.traitors.two_faced import TwoFaced

__all__ = [
    "STRATEGIES",
    "Power",
    "Seat",
    "Strategy",
    "Traitor",
    "Trigger",
    "parameters",
    "seated",
    "strategy_class",
    "strategy_of",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "flip": Flip,
    "parity": Parity,
    "two-faced": TwoFaced,
    "silent": Silent,
    "random": RandomValues,
    "script": Script,
    "forger": Forger,
    "replayer": Replayer,
    "delayer": Delayer,
    "crasher": Crasher,
    "many-faced": ManyFaced,
    "last-round": LastRound,
    "padder": Padder,
    "splicer": Splicer,
    "twins": Twins,
    "slow-loris": SlowLoris,
    "flooder": Flooder,
    "malformer": Malformer,
}


def strategy_class(name: str) -> type[Strategy]:
    """The strategy of that name, or a user's own. ValueError says what is wrong with the name."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if ":" not in name:
        close = difflib.get_close_matches(name, STRATEGIES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(STRATEGIES)}"
        raise ValueError(f"no strategy is called {name!r}: {hint}")
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as fault:
        # A user's module may raise anything at all.
        raise ValueError(f"cannot load the strategy {name!r}: {fault}") from None
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ValueError(f"{name!r} is no subclass of node.traitors.Strategy")
    return found


def strategy_of(role: Role, seat: Seat) -> Strategy:
    """The strategy that a role names, seated. ValueError says which name or parameter is wrong."""
    strategy = seated(strategy_class(role.strategy), seat, role)
    try:
        strategy.trigger = msgspec.convert(role.trigger, Trigger)
    except msgspec.ValidationError as fault:
        raise ValueError(f"trigger: {fault}") from None
    strategy.name = role.strategy
    return strategy


def seated(strategy: type[Strategy], seat: Seat, role: Role) -> Strategy:
    """A strategy with a role's parameters. ValueError says which one is wrong."""
    known: dict[str, Any] = parameters(strategy)
    for name in role.params:
        if name not in known and not takes_others(strategy):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"strategy {role.strategy!r} takes no parameter {name!r}{hint}")
    for name, default in known.items():
        if default is inspect.Parameter.empty and name not in role.params:
            raise ValueError(f"strategy {role.strategy!r} needs the parameter {name!r}")
    _check_types(strategy, role)
    try:
        return strategy(seat, **role.params)
    except (TypeError, KeyError, AttributeError) as fault:
        raise ValueError(f"strategy {role.strategy!r}: {fault}") from None


def _check_types(strategy: type[Strategy], role: Role) -> None:
    """A parameter of a wrong type would else be found out in mid-run."""
    try:
        types = get_type_hints(strategy.__init__)
    except NameError:
        return  # A user's annotations need not mean anything at run time.
    for name, value in role.params.items():
        try:
            msgspec.convert(value, types.get(name, Any))
        except msgspec.ValidationError as fault:
            raise ValueError(f"strategy {role.strategy!r}: {name}: {fault}") from None
