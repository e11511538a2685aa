"""Components of one's own, named by where they are, and checked before anything of them is called."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from safe_files import expanded
from safe_files.code_trust import OWN_PACKAGES, UntrustedCodeError, is_file, is_standard, require_trusted


class ImportReferenceError(Exception):
    """A name that stands for nothing, or for something that is no such component."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentKind:
    """The facts that can be told of a kind's components before they are called, and of what they make.

    Attributes:
        name: of the kind.
        expected: a component of it, in words.
        base: class of what is made; None where `members` tell.
        members: what the made thing has.
        arguments: that it is made from, in order.
        keywords: those given by name.
        called_with: what the made thing is called with, where it is called.
        by_function: whether a function may make it, besides its class; else the class itself is wanted.
        has_own_arguments: whether it may be made from more than those.
        inherits: where the class is that has defaults of members, `package.module:Name`; components inherit from it.
    """

    name: str
    expected: str
    base: type | None = None
    members: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    called_with: tuple[str, ...] = ()
    by_function: bool = True
    has_own_arguments: bool = False
    inherits: str | None = None

    def is_made_by(self, described: type) -> bool:
        """Return whether objects of that class are what the kind makes, as far as the class tells."""
        return self.unlike(described) is None

    def unlike(self, described: type) -> str | None:
        """Return in what objects of that class are not what the kind makes; None where the class tells nothing."""
        if self.base is not None and not issubclass(described, self.base):
            return f"is no {self.base.__name__}"
        if missing := self.missing(described):
            return f"has no {missing[0]!r}" + self.remedy(missing[0])
        method = getattr(described, "forward", described.__call__) if self.called_with else None
        if method is not None and not _takes(method, ("self", *self.called_with)):
            return f"is not called with {', '.join(self.called_with)}"
        return None

    def missing(self, described: type) -> list[str]:
        """Return the members that objects of that class lack, as far as the class tells."""
        # What __init__ names may be set by it; a dataclass sets its fields.
        made_by = getattr(described, "__init__", None)
        set_later = {*getattr(getattr(made_by, "__code__", None), "co_names", ())}
        set_later |= {*getattr(described, "__dataclass_fields__", ())}
        return [m for m in self.members if m not in set_later and not any(m in vars(c) for c in described.__mro__)]

    def default(self, name: str) -> Any:
        """Return the default of a member.

        Raises:
            AttributeError: there is none.
        """
        if self.inherits is None:
            raise AttributeError(name)
        where, _, parent = self.inherits.partition(":")
        return getattr(getattr(importlib.import_module(where), parent), name)

    def remedy(self, member: str) -> str:
        """Return where a missing member can be had from, to be added to a message; nothing where it has no default."""
        try:
            self.default(member)
        except AttributeError:
            return ""
        return f": inherit from {self.inherits}, which has a default"

    def is_met_by(self, made: object) -> bool:
        """Return whether a made object is what the kind makes."""
        has_all = all(hasattr(made, name) for name in self.members)
        return has_all and (self.base is None or isinstance(made, self.base))


def is_reference(name: str) -> bool:
    """Return whether a name says where a component is, rather than which built-in it is."""
    return ":" in name


def find_component(kind: ComponentKind, name: str, built_in: Mapping[str, Any]) -> Any:
    """Return the built-in of that name, or what `package.module:Name` or `./file.py:Name` names.

    Importing runs the module's code, as naming one's own code has to; what it names is checked before it is called, and
    what that makes is checked as soon as it is made.

    Raises:
        ImportReferenceError: there is no such built-in, module or attribute, the module fails or may not be run, or it
            is no component of that kind.
    """
    if name in built_in:
        return built_in[name]
    if not is_reference(name):
        raise ImportReferenceError(
            f"unknown {kind.name} {name!r}; there are: {', '.join(sorted(built_in))}; or name your own as "
            "./file.py:Name or package.module:Name"
        )
    where, _, attribute = name.rpartition(":")
    module = _imported(kind, name, where)
    if not hasattr(module, attribute):
        raise ImportReferenceError(f"{where} has no {attribute!r}, which {kind.name} {name} names")
    component = getattr(module, attribute)
    if (found := _misfit(kind, component, may_be_silent=is_file(where))) is not None:
        raise ImportReferenceError(f"{kind.name} {name}: expected {kind.expected}; found {found}")
    return _Maker(kind, name, component) if kind.by_function else component


def line_of_own_code(error: BaseException) -> str | None:
    """Return the last line of code of one's own that an error passed through; None where it passed through none."""
    own = (module for module in _IMPORTED if module.__name__.partition(".")[0] not in OWN_PACKAGES)
    files = {path for module in own if (path := getattr(module, "__file__", None))}
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    return f"{lines[-1].filename}, line {lines[-1].lineno}" if lines else None


_IMPORTED: list[ModuleType] = []
"""Modules that names of components led to."""

_OF_A_FILE = "hwnas_user_"
"""What the names of modules begin with that were read from a file, and that no other process can import by name."""


def modules_of_files() -> tuple[ModuleType, ...]:
    """Return the modules that components were read from by `./file.py:Name`."""
    return tuple(module for module in _IMPORTED if module.__name__.startswith(_OF_A_FILE))


def _imported(kind: ComponentKind, name: str, where: str) -> ModuleType:
    if not is_file(where) and is_standard(where):
        raise ImportReferenceError(
            f"{kind.name} {name}: expected {kind.expected}; found Python's standard library, which has no components"
        )
    try:
        require_trusted(f"{kind.name} {name}", where)
        module = _import_file(expanded(Path(where))) if is_file(where) else importlib.import_module(where)
    except (ImportReferenceError, UntrustedCodeError) as error:
        raise ImportReferenceError(str(error)) from error
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise ImportReferenceError(f"cannot import {kind.name} {name}: {type(error).__name__}: {error}") from error
    if module not in _IMPORTED:
        _IMPORTED.append(module)
    return module


def _import_file(path: Path) -> ModuleType:
    resolved = path.resolve()
    name = f"{_OF_A_FILE}{resolved.stem}_{abs(hash(str(resolved)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None or not resolved.is_file():
        raise ImportReferenceError(f"no file {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _misfit(kind: ComponentKind, component: object, *, may_be_silent: bool) -> str | None:
    """Return what is wrong with a component, in words; None where nothing can be told without calling it.

    Args:
        may_be_silent: functions need not say what they return. Those of installed packages must: any of them could be
            named, and most have effects.
    """
    if inspect.isclass(component):
        wrong = _wrong_class(kind, component)
    elif isinstance(component, FunctionType) and kind.by_function and not is_standard(component.__module__ or ""):
        wrong = _wrong_function(kind, component, may_be_silent=may_be_silent)
    else:
        return f"a {type(component).__name__}"
    return wrong or _wrong_arguments(kind, component)


def _wrong_class(kind: ComponentKind, component: type) -> str | None:
    unlike = kind.unlike(component)
    if unlike is None and (abstract := sorted(getattr(component, "__abstractmethods__", ()))):
        unlike = f"is abstract, as it has no {abstract[0]!r} of its own"
    if unlike is None and getattr(component, "_is_protocol", False):
        unlike = "is abstract"
    return f"the class {component.__name__}, which {unlike}" if unlike else None


def _wrong_function(kind: ComponentKind, component: FunctionType, *, may_be_silent: bool) -> str | None:
    try:
        said = typing.get_type_hints(component).get("return", Any)
    except Exception:  # an annotation can be anything that Python does not evaluate
        said = Any
    described = typing.get_origin(said) or said
    if said is Any or described is Callable:
        return None if may_be_silent else "a function that does not say what it returns"
    if inspect.isclass(described) and kind.is_made_by(described):
        return None
    return f"a function that returns {getattr(said, '__name__', said)}"


def _wrong_arguments(kind: ComponentKind, component: Callable[..., object]) -> str | None:
    # What can do without its only argument takes something else by it.
    is_other = len(kind.arguments) == 1 and _takes(component, ())
    if not is_other and _takes(component, kind.arguments, kind.keywords, may_take_more=kind.has_own_arguments):
        return None
    try:
        names = list(inspect.signature(component).parameters)
    except (TypeError, ValueError):
        names = ["unknown ones"]
    return f"one made from other arguments: {', '.join(names) or 'none'}"


def _takes(
    function: Callable[..., object],
    arguments: tuple[str, ...],
    keywords: tuple[str, ...] = (),
    *,
    may_take_more: bool = False,
) -> bool:
    try:
        signature = inspect.signature(function)
        bind = signature.bind_partial if may_take_more else signature.bind
        bind(*arguments, **dict.fromkeys(keywords))
    except (TypeError, ValueError):
        return False
    return True


class _Maker:
    """A component of one's own that checks what it makes; has the component's attributes."""

    def __init__(self, kind: ComponentKind, name: str, component: Callable[..., Any]) -> None:
        functools.update_wrapper(self, component, updated=())
        self._kind, self._name, self._component = kind, name, component

    def __getattr__(self, attribute: str) -> Any:
        component, kind = self.__dict__["_component"], self.__dict__["_kind"]
        # A function says nothing of what it makes.
        return getattr(component, attribute) if hasattr(component, attribute) else kind.default(attribute)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        where = f"{self._kind.name} {self._name}: expected {self._kind.expected}"
        try:
            made = self._component(*arguments, **keywords)
        except (TypeError, AttributeError, RecursionError) as error:  # it takes what it was given for something else
            line = line_of_own_code(error)
            at = f" ({line})" if line else ""
            raise ImportReferenceError(f"{where}; making it failed: {type(error).__name__}: {error}{at}") from error
        if not self._kind.is_met_by(made):
            missing = [name for name in self._kind.members if not hasattr(made, name)]
            lacking = f", which has no {missing[0]!r}{self._kind.remedy(missing[0])}" if missing else ""
            raise ImportReferenceError(f"{where}; it made a {type(made).__name__}{lacking}")
        return made
