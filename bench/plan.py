"""Names and overrides to specifications: what is trained, what is attacked, under which id, parents first."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from bench.api import Attack, Defense, Suite, Trial, nested
from bench.attacks.norms import norms_of, require_norm, told
from bench.attacks.others.signature import OthersAttack, column_of
from bench.core.behind import CELL, TRAINING
from bench.core.digest import content_id, file_sha256
from bench.core.encoding import UNLABELLED, differences, encode, override
from bench.core.files import why
from bench.core.grammar import split, variant
from bench.core.imports import FROM_FILE, has_run, is_given
from bench.core.listing import DEFAULT, listing
from bench.core.own import OURS, with_own_imports
from bench.core.threat import (
    DECISIONS,
    GRAY_BOX_CLASSIFIER,
    GRAY_BOX_TWIN,
    GRAY_BOX_UNDEFENDED,
    SCORES,
    TRANSFER,
    WHITE_BOX,
    WHITE_BOX_BPDA,
    Budget,
    Feedback,
    Knowledge,
    Source,
    format_eps,
)
from bench.data import folder
from bench.data.catalog import at_usual_size, kind, source, user_path, with_parameters
from bench.data.extra import Extra
from bench.data.identity import identity, one_look
from bench.data.load import load
from bench.data.outputs import outputs_of
from bench.errors import BadCheckpoint, BadValue, UnknownName, unknown
from bench.evaluate.follow_up import Scout
from bench.evaluate.nearest import Nearest, goes_on
from bench.evaluate.numerics import Numerics
from bench.nn.architectures import is_architecture, module_of
from bench.records.labels import is_label
from bench.records.presets import NONE, PRESET, fields_of, presets_of, usual_preset
from bench.registry import ATTACKS, DEFENSES, suite_named
from bench.train import brought
from bench.train.at_hand import AtHand, shelf
from bench.train.foreign import Foreign, WeightsPlace
from bench.train.recipe import Recipe
from bench.train.recipes import LOADED, of_attackers, published, recipe

T = TypeVar("T")

UNDEFENDED = "standard"
"""The name of the defense that defends nothing: undefended twins and transfer surrogates are such."""

KNOWLEDGE: Mapping[str, Knowledge] = {
    "white-box": WHITE_BOX,
    "bpda": WHITE_BOX_BPDA,
    "classifier": GRAY_BOX_CLASSIFIER,
    "twin": GRAY_BOX_TWIN,
    "undefended": GRAY_BOX_UNDEFENDED,
    "transfer": TRANSFER,
    "scores": SCORES,
    "decisions": DECISIONS,
}
"""What attacks that are named one by one may see, by the word that is typed."""

OF_ATTACKS = "attacks"
"""The suite that is put together from named attacks; it is never on a board."""

OTHER_ARCHITECTURE = {"small_cnn": "lenet", "lenet": "small_cnn", "small_resnet": "wide_resnet_16_1"}
"""What a transfer surrogate is for each architecture of the victim; others get a small wide network."""

_NETWORK = re.compile(r"(?P<defense>.+)@(?P<architecture>\w*)", re.DOTALL)


@dataclass(frozen=True)
class Named:
    """A defense under the name that people know it by, with what was overridden."""

    name: str
    defense: Defense
    title: str = ""  # what tables print in the place of all that
    preset: str = ""  # the data set whose settings it has; empty: its defaults, which nothing else asks for
    data: str = ""  # what it is for, so what its parts would have by themselves; empty: not known

    @property
    def label(self) -> str:
        """The name as tables print it: agkd_bml[margin=0.05], trades[preset=mnist].

        Typed again, with the data set or without, it is the same defense.
        """
        if self.title:
            return self.title
        usual = {data: self._usual(data) for data in ("", self.data)}
        changed = {key: value for each in usual.values() for key, value in self._changed(each).items()}
        held = {key: (getattr(self.defense, key, value), value) for key, value in changed.items()}
        told = {key: _told(*both, self.data) for key, both in held.items()}
        shown_first = [f"{PRESET}={self.preset}"] if self.preset else []
        fields = ",".join(shown_first + [f"{key}={value}" for key, value in sorted(told.items())])
        shown = re.sub(r".*[/\\](?=[^/\\]+\.py:)", "", self.name)  # a file of one's own, wherever it lies
        return f"{shown}[{fields}]" if fields else shown

    def _changed(self, usual: Any) -> dict[str, Any]:
        return _printed(self.defense, differences(self.defense, usual))

    def _usual(self, data: str) -> Any:
        """What has that name, with nothing changed; for a class of no table and no file, its defaults."""
        path, is_file, _ = self.name.rpartition(".py:")
        if is_file and not has_run(Path(f"{path}.py")):  # a label in a record runs no file
            return type(self.defense)()
        try:
            return _preset(self.name, _resolved(DEFENSES.get(self.name), data), self.preset, data)
        except UnknownName:
            return type(self.defense)()


@dataclass(frozen=True)
class Init:
    """A file of weights that a training begins with; its content is its identity."""

    path: Path  # the first, if they are several
    sha256: str

    @classmethod
    def of(cls, *paths: Path, option: str = "--init") -> Init:
        """The file, or several, as they are now; BadCheckpoint if one cannot be read."""
        digests = []
        for path in paths:
            try:
                digests.append(file_sha256(path))
            except OSError as error:
                raise BadCheckpoint(
                    f"{path} cannot be read ({why(error)})", f"{option} with the path of a weights file"
                ) from None
        sha256 = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return cls(paths[0], sha256)


@dataclass(frozen=True)
class TrainSpec:
    """All that decides the weights of one network."""

    named: Named
    data: str
    data_identity: str | None  # content of a data set that has no published name
    architecture: str
    budget: Budget  # of the inner attack
    recipe: Recipe
    seed: int
    parents: tuple[tuple[str, TrainSpec], ...]  # (role, what is trained before)
    init: Init | None = None  # weights to begin with; None: fresh ones
    devices: int = 1  # that train together: each draws for itself, so they come to other weights
    extra: Extra | None = None  # images that are mixed into the training set's

    def encoded(self) -> dict[str, Any]:
        """As JSON; the defense's registered name is no part of its identity, its type and fields are."""
        return {
            "defense": encode(self.named.defense),
            "data": source(self.data).name,
            "data_identity": self.data_identity,
            "architecture": self.architecture,
            "budget": encode(self.budget),
            "recipe": encode(self.recipe),
            "seed": self.seed,
            "parents": {role: spec.id for role, spec in self.parents},
            **({"init": self.init.sha256} if self.init else {}),
            **({"devices": self.devices} if self.devices > 1 else {}),
            **({"extra": self.extra.encoded()} if self.extra else {}),
        }

    @property
    def id(self) -> str:
        """The name of the weights: no suite in it, so suites share checkpoints."""
        return content_id(self.encoded())

    @property
    def of_others(self) -> bool:
        """Whether weights of others are in it: their training images may be our validation images."""
        return self.init is not None or any(parent.of_others for _, parent in self.parents)

    @property
    def given_code(self) -> list[str]:
        """The modules of its defense, or of the network's factory, that the user named."""
        modules = _modules_of(self.named.defense)
        return [name for name in modules if is_given(name) and name.partition(".")[0] not in OURS]

    @property
    def modules(self) -> list[str]:
        """The modules whose code, with all that they import, made the weights."""
        own = [
            *with_own_imports(_modules_of(self.named.defense)),
            module_of(self.architecture),
            source(self.data).loader.partition(":")[0],
            *TRAINING,
        ]
        return own + [module for _, parent in self.parents for module in parent.modules]


@dataclass(frozen=True)
class RunSpec:
    """All that decides one record."""

    training: TrainSpec
    suite: Suite
    budget: Budget  # of the attacker
    checkpoint: Literal["best", "last"] = "best"
    numerics: Numerics = field(default_factory=Numerics)
    others: tuple[tuple[Source, TrainSpec], ...] = ()  # networks that attackers own

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "training": {
                **self.training.encoded(),
                "id": self.training.id,
                "name": self.training.named.label,
            },
            "suite": encode(self.suite),
            "budget": encode(self.budget),
            "checkpoint": self.checkpoint,
            "numerics": encode(self.numerics),
            "others": {who.value: spec.id for who, spec in self.others},
        }

    @property
    def id(self) -> str:
        """The name of the record."""
        return content_id(self.encoded())

    @property
    def custom(self) -> tuple[str, ...]:
        """What differs from what is published, in words; empty: nothing does.

        The number of examples does not count: every number has boards of its own. A surrogate that the user
        chose does.
        """
        differs = {
            "attacks were named one by one": self.suite.name == OF_ATTACKS,
            "parameters of the suite were overridden": self._suite_changed,
            "numerics were overridden": self.numerics != Numerics(),
            "the weights are those of the last epoch": self.checkpoint != "best",
            "a surrogate was chosen": self._surrogate_chosen,
        }
        return tuple(told for told, holds in differs.items() if holds)

    @property
    def _suite_changed(self) -> bool:
        if self.suite.name == OF_ATTACKS:
            return False
        published = suite_named(self.suite.id)
        return dataclasses.replace(self.suite, examples=published.examples) != published

    @property
    def _surrogate_chosen(self) -> bool:
        held = dict(self.others).get(Source.SURROGATE)
        usual = UNDEFENDED, _other_architecture(self.training.architecture)
        return held is not None and (held.named.label, held.architecture) != usual

    @property
    def modules(self) -> list[str]:
        """The modules whose code, with all that they import, made the record."""
        attacks = [type(attack).__module__ for trial in self.suite.trials for attack in nested(trial.attack)]
        trained = [module for _, spec in self.others for module in spec.modules]
        return sorted({*self.training.modules, *trained, *with_own_imports(attacks), *CELL})


@dataclass(frozen=True)
class Request:
    """What a user asked for, in the user's words."""

    defense: str
    data: str = "digits"
    suite: str = DEFAULT
    attacks: tuple[str, ...] = ()  # in the place of a suite
    knowledge: str | None = None  # of these attacks, a word of KNOWLEDGE; None: white-box
    recipe: str = "short"
    architecture: str | None = None  # None: the data set's usual one
    budget: Budget | None = None  # of the attacker; None: the data set's customary one
    train_budget: Budget | None = None  # of the inner attack; None: the customary one
    seed: int = 0
    examples: int | Literal["all"] | None = None  # None: the suite's number
    checkpoint: Literal["best", "last"] = "best"
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # part -> field -> text
    surrogate: str | None = None  # NAME or NAME@ARCH, that transfer attackers own; None: the usual one
    init: Path | None = None  # weights that the defense, not what it requires, begins with
    weights: Path | None = None  # for a defense of which nothing is trained
    factory: str | None = None  # what makes the network for those weights; None: the architecture
    classes: str | None = None  # the file that names its outputs; None: they are the data's classes
    foreign: Mapping[str, str] = field(default_factory=dict)  # what else is said of it, field -> text
    label: str | None = None  # what tables call a network that is loaded; None: what it is made of
    devices: int = 1  # that train together
    extra: Extra | None = None  # images to mix into the training set's
    data_root: Path | None = None  # where weights of others are kept, besides data
    download: bool = True  # whether weights of others may be fetched


_NAMES = {"suite": ("name", "version", "trials"), "recipe": ("name", "source")}
"""What says which published thing is meant, and so cannot be overridden; by part."""

PARTS = ("defense", "recipe", "suite", "numerics", "attack.COLUMN")


def plan_training(request: Request) -> TrainSpec:
    """What `bench train` will train."""
    return _plan_training(_with_data_for(request, only_tested=True))


def _plan_training(request: Request) -> TrainSpec:
    _check_parts(request)
    found = source(request.data)
    architecture = request.architecture or found.architecture
    module_of(architecture)  # says what is wrong with a name
    named = parse_defense(request.defense, request.settings.get("defense", {}), request.data)
    if isinstance(named.defense, Foreign):
        given = _labelled(_as_said(named, request), request)
        return _loaded(
            given,
            request,
            identity(request.data, request.download),
            architecture,
            request.seed,
            request.weights,
        )
    _check_trained_here(named, request)
    init = None if request.init is None else Init.of(request.init)
    return _training(
        named, request, identity(request.data, request.download), architecture, request.seed, init
    )


def plan_run(request: Request) -> RunSpec:
    """What `bench run` will do: the training, the suite, and every network that its attackers need."""
    suite = _suite(request)
    wanted = {trial.knowledge.gradients for trial in suite.trials}
    request = _with_data_for(request, only_tested=not wanted & {Source.UNDEFENDED, Source.SURROGATE})
    training = _plan_training(request)
    budget = request.budget or source(request.data).budget
    for name, trial in zip(request.attacks, suite.trials, strict=False):
        _check_attack(name, trial, budget)
    _check_norms(suite, budget)
    twin_seed = request.seed ^ 1
    architecture, content = training.architecture, training.data_identity
    others: list[tuple[Source, TrainSpec]] = []
    parts = _parts(training.named.defense)
    if Source.TWIN in wanted and not any(isinstance(part, Foreign) for part in parts):
        twin = _training(training.named, request, content, architecture, twin_seed, training.init)
        others.append((Source.TWIN, twin))
    theirs = dataclasses.replace(request, recipe=of_attackers(request.data, request.recipe))
    undefended = parse_defense(UNDEFENDED, {})
    if Source.UNDEFENDED in wanted:
        others.append((Source.UNDEFENDED, _training(undefended, theirs, content, architecture, twin_seed)))
    if Source.SURROGATE in wanted:
        others.append((Source.SURROGATE, _surrogate(training, theirs, twin_seed)))
    elif request.surrogate is not None:
        raise BadValue(
            f"--surrogate is {request.surrogate!r}, but no attacker of {suite.id} owns a surrogate, expected "
            "a suite that transfers from one",
            "--suite blackbox",
        )
    return RunSpec(
        training=training,
        suite=suite,
        budget=budget,
        checkpoint=request.checkpoint,
        numerics=_numerics(request),
        others=tuple(others),
    )


def _with_data_for(request: Request, only_tested: bool) -> Request:
    """The data at the size that a network of a library usually takes; all for testing if nothing is trained.

    Of pictures that are in no parts, some are for training where any network of the run is trained.
    """
    foreign = parse_defense(request.defense, request.settings.get("defense", {})).defense
    if not isinstance(foreign, Foreign):
        return request
    data = request.data
    if _is_network_untold(request) or request.defense.partition(":")[0] in brought.SCHEMES:
        data = at_usual_size(data, *foreign.usual_size(request.weights, _place(request)))
    is_plain = kind(data) == "folder" and folder.is_plain(user_path(data))
    if is_plain and only_tested:
        data = with_parameters(data, test="all")
    return dataclasses.replace(request, data=data)


def plan_white_box(request: Request, suite: Suite) -> RunSpec:
    """The same for a suite of no table, whose attackers need no network but the victim."""
    budget = request.budget or source(request.data).budget
    _check_norms(suite, budget)
    return RunSpec(
        training=plan_training(request),
        suite=_with_settings(suite, request),
        budget=budget,
        checkpoint=request.checkpoint,
        numerics=_numerics(request),
    )


@one_look()
def plan_each(names: Sequence[str], request: Request, suite: Suite) -> list[RunSpec]:
    """A run for each NAME or NAME@ARCH, each once; the rest of the request is common to all.

    A file of weights, and what makes its network, are only for those among them that are loaded from a file.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    if len(names) > 1 and "defense" in request.settings:
        name, value = next(iter(request.settings["defense"].items()))
        raise BadValue(
            f"--set defense.{name}=… does not say of which network, expected it in the network's name",
            f"{names[0]}[{name}={value}]",
        )
    if len(names) > 1 and request.label is not None:
        raise BadValue(
            f"--label is {request.label!r}, but {len(names)} networks are named, expected one network",
            names[0],
        )
    if len(names) > 1 and request.init is not None:
        raise BadValue(
            f"--init is given for {len(names)} networks, which cannot all begin with one file, expected one "
            "network",
            names[0],
        )
    trained = dataclasses.replace(request, weights=None, factory=None, classes=None, foreign={})
    from_file = {name for name in names if len(names) > 1 and _is_from_file(parse_network(name)[0])}
    specs = []
    for name in dict.fromkeys(names):
        defense, architecture = parse_network(name)
        whole = request if name in from_file or not from_file else trained
        wanted = dataclasses.replace(whole, defense=defense, architecture=architecture or whole.architecture)
        specs.append(plan_white_box(wanted, suite))
    return specs


def parse_network(text: str) -> tuple[str, str | None]:
    """A defense and the architecture that it is to have, from `NAME` or `NAME@ARCH`.

    >>> parse_network("pgd_at[steps=7]@lenet"), parse_network("standard")
    (('pgd_at[steps=7]', 'lenet'), ('standard', None))
    >>> parse_network("hf:a/b@v1@lenet"), parse_network("hf:a/b@v1")
    (('hf:a/b@v1', 'lenet'), ('hf:a/b@v1', None))

    Raises UnknownName for an architecture that there is not.
    """
    match = _NETWORK.fullmatch(text.strip())
    if match is None:  # an @ in a file's folders or in brackets is none of ours
        return text.strip(), None
    if text.strip().startswith("hf:") and not is_architecture(match["architecture"]):  # it is a revision
        return text.strip(), None
    module_of(match["architecture"])  # says what is wrong with a name
    return match["defense"].strip(), match["architecture"]


def parse_defense(text: str, settings: Mapping[str, str], data: str = "") -> Named:
    """A defense from `name` or `name[field=value,...]`, with further settings.

    It begins with what its authors have for the data set, where there is such a preset, or with the preset
    that is typed: `trades[preset=none]`.

    >>> parse_defense("trades[steps=7]", {}, "mnist").label, parse_defense("trades", {}).label
    ('trades[preset=mnist,steps=7]', 'trades')

    Raises:
        UnknownName: no such defense.
        BadValue: no such field, or a value of the wrong type or out of range.
    """
    name, typed = variant(text, "the defense", "bench list defenses")
    given: dict[str, str] = {**typed, **settings}
    held = None if _is_of_a_table(name) else shelf().named(name)
    # a file of the user's own may hold anything
    defense: Any = _resolved(DEFENSES.get(name), data) if held is None else held.defense
    lacking = [verb for verb in ("requires", "build", "fit", "deploy") if not hasattr(defense, verb)]
    if lacking or not dataclasses.is_dataclass(defense):
        wrong = f"has no {lacking[0]}" if lacking else "is not a dataclass"
        raise BadValue(
            f"the defense {name!r} {wrong}, expected a frozen dataclass with build, fit and deploy",
            f"bench check {name}",
        )
    preset = "" if hasattr(defense, PRESET) else given.pop(PRESET, "") or usual_preset(name, data)
    defense = _preset(name, defense, preset, data)
    parts = {key: _as_defenses(defense, key, value, data) for key, value in given.items()}
    made = Named(name, cast(Defense, _set("defense", defense, parts)), preset=preset, data=data)
    if held is not None:
        return _taken(held, made, given)
    loaded = [part for part in _parts(made.defense) if isinstance(part, Foreign)]
    is_of_them = any(shelf().given(cast(Defense, part)) for part in loaded)
    return dataclasses.replace(made, title=made.label) if is_of_them else made


def _preset(name: str, defense: Any, preset: str, data: str = "") -> Any:
    """The defense with the settings of a preset of its name."""
    fields = fields_of(name, preset)
    return override(defense, {key: _as_defenses(defense, key, text, data) for key, text in fields.items()})


def _is_of_a_table(name: str) -> bool:
    return name in DEFENSES.names() or ":" in name


def _taken(held: AtHand, made: Named, changed: Mapping[str, str]) -> Named:
    """A network that the store holds under its label, with what was overridden."""
    if changed:
        told = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
        label = f"{held.label}[{told}]"
        held = dataclasses.replace(held, label=label, defense=made.defense, trainings=frozenset())
        shelf().take(held)
    return dataclasses.replace(made, title=held.label)


def attack_named(name: str) -> Attack:
    """The attack that a user named, with its defaults.

    Raises:
        UnknownName: no such attack.
        BadValue: what is there is no attack.
    """
    found: Any = ATTACKS.get(name)  # a file of the user's own may hold anything
    if not dataclasses.is_dataclass(found) or not callable(found):
        raise BadValue(
            f"the attack {name!r} is no frozen dataclass that can be called, expected one",
            f"bench check {name}",
        )
    return cast(Attack, found)


def name_of(defense: Defense, data: str = "") -> Named:
    """A defense under the name that it is registered by, else that of its class, else its file's.

    With the data set that it is for, settings that it would not have there by itself are told.

    >>> name_of(parse_defense("trades", {}).defense, "mnist").label
    'trades[preset=none]'
    >>> name_of(parse_defense("pgd_at[steps=7]", {}).defense).label
    'pgd_at[steps=7]'
    >>> name_of(parse_defense("n_fgsm", {}).defense).label
    'n_fgsm'
    """
    if isinstance(defense, Foreign) and (held := shelf().given(defense)) is not None:
        return Named(held.label, defense, held.label)
    if isinstance(defense, Foreign) and DEFENSES.scheme(defense.source) is not None:
        return Named(defense.source, defense)
    kind = type(defense)
    names = [name for name in DEFENSES.names() if DEFENSES.location(name).startswith(f"{kind.__module__}:")]
    usual = {name: _resolved(DEFENSES.get(name)) for name in names}
    known = [name for name in names if usual[name] == defense]
    for name in names if not known else ():
        for preset in presets_of(name):
            if _preset(name, usual[name], preset.data) == defense:
                return Named(name, defense, preset=preset.data, data=data)
    known += [name for name in names if type(usual[name]) is kind]
    if known:
        return _least_told(known[0], defense, data)
    path = vars(sys.modules[kind.__module__]).get(FROM_FILE)
    return Named(f"{path or kind.__module__}:{kind.__qualname__}", defense, data=data)


def _least_told(name: str, defense: Defense, data: str) -> Named:
    """By its changes from its data set's preset, or from its defaults, whichever are fewer."""
    preset = usual_preset(name, data)
    ways = [Named(name, defense, preset=way, data=data) for way in ((preset, NONE) if preset else ("",))]
    return min(ways, key=lambda named: len(differences(defense, named._usual(data))))


def _is_from_file(text: str) -> bool:
    """Whether a defense is given its weights by --checkpoint FILE."""
    defense = parse_defense(text, {}).defense
    is_file = isinstance(defense, Foreign) and defense.source == "file"
    return is_file and shelf().given(defense) is None


def _resolved(defense: Any, data: str = "") -> Any:
    """A defense whose fields name no other defense: they hold it."""
    if not dataclasses.is_dataclass(defense) or isinstance(defense, type):
        return defense
    changes = {}
    for item in dataclasses.fields(defense):
        value = getattr(defense, item.name)
        # by its text: what a user's file imports for type checkers alone cannot be evaluated
        if re.search(r"\bDefense\b", str(item.type)) is None:
            continue
        several = isinstance(value, tuple)
        held = [_resolve(part, data) for part in (value if several else (value,))]
        changes[item.name] = tuple(held) if several else held[0]
    return dataclasses.replace(defense, **changes) if changes else defense


def _is_defense(value: object) -> bool:
    return dataclasses.is_dataclass(value) and hasattr(value, "deploy")


def _resolve(value: Defense | str, data: str) -> Defense:
    if not isinstance(value, str):
        return value
    named = parse_defense(value, {}, data)
    held = _only_one(named)
    return named.defense if held is None else held.defense


def _only_one(named: Named) -> AtHand | None:
    """The only network that the store holds, where nothing is said but that one is loaded."""
    if not isinstance(named.defense, Foreign) or named.name not in DEFENSES.names():
        return None
    return shelf().named(named.name) if named.defense == DEFENSES.get(named.name) else None


def _as_defenses(defense: Any, key: str, text: str, data: str) -> Any:
    """What a user typed for a field that holds defenses: `trades`, or `pgd_at+trades[beta=3]`."""
    held = getattr(defense, key, None)
    if isinstance(held, tuple) and held and _is_defense(held[0]):
        return tuple(_resolve(part, data) for part in split("+", text))
    return _resolve(text, data) if _is_defense(held) else text


def _parts(defense: Any) -> Iterator[Any]:
    """A defense and those that it is made of."""
    yield defense
    for item in dataclasses.fields(defense):
        value = getattr(defense, item.name)
        for part in value if isinstance(value, tuple) else (value,):
            if _is_defense(part):
                yield from _parts(part)


def _modules_of(defense: Any) -> list[str]:
    """The modules of a defense and of those that it is made of."""
    return [
        module
        for part in _parts(defense)
        for module in (type(part).__module__, *getattr(part, "modules", ()))
    ]


def _printed(defense: object, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Of the changed fields those that labels print."""
    hidden = {field.name for field in dataclasses.fields(cast(Any, defense)) if UNLABELLED in field.metadata}
    return {key: value for key, value in changed.items() if key not in hidden}


def _told(held: object, encoded: object, data: str) -> str:
    """A field's value as labels print it."""
    labels = labels_of(held, data)
    return _plain(encoded) if labels is None else labels


def labels_of(held: object, data: str = "") -> str | None:
    """How a field's value is typed where it is a defense, or several; None: it is something else.

    With the data set that it is for, where that is known.

    >>> labels_of(parse_defense("awp", {}).defense.base), labels_of(0.5)
    ('pgd_at', None)
    """
    if _is_defense(held):
        return name_of(cast(Defense, held), data).label
    if isinstance(held, tuple) and held and _is_defense(held[0]):
        return "+".join(name_of(part, data).label for part in held)
    return None


def _other_architecture(architecture: str) -> str:
    """What attackers take who do not know the victim's."""
    return OTHER_ARCHITECTURE.get(architecture, "wide_resnet_16_4")


def _surrogate(victim: TrainSpec, request: Request, seed: int) -> TrainSpec:
    """The network that transfer attackers own: what the user named, else one without a defense."""
    defense, architecture = parse_network(request.surrogate or UNDEFENDED)
    named = parse_defense(defense, {}, request.data)
    architecture = architecture or _other_architecture(victim.architecture)
    if isinstance(named.defense, Foreign):  # nothing of it is drawn: so it is found where it was judged
        seed = request.seed
    found = _training(named, request, victim.data_identity, architecture, seed)
    if _weights_of(found) == _weights_of(victim):
        raise BadValue(
            f"--surrogate is {request.surrogate!r}, which is the victim itself, expected another network",
            f"--surrogate {UNDEFENDED}",
        )
    return found


def _weights_of(spec: TrainSpec) -> str:
    """What names the weights before they are there; no seed of ours changes those of others."""
    return spec.init.sha256 if isinstance(spec.named.defense, Foreign) and spec.init else spec.id


def _training(
    named: Named,
    request: Request,
    content: str | None,
    architecture: str,
    seed: int,
    init: Init | None = None,
) -> TrainSpec:
    if isinstance(named.defense, Foreign):
        return _loaded(named, request, content, architecture, seed)
    for part in _parts(named.defense):
        if isinstance(part, Foreign) and cast(Defense, part) not in named.defense.requires.values():
            inner = name_of(cast(Defense, part), request.data).label
            raise BadValue(
                f"{named.label} would train {inner}, which is never trained, expected a defense that is",
                f"bench run --defense {inner}",
            )
    parents = tuple(
        (role, _parent(parent, request, content, architecture, seed))
        for role, parent in sorted(named.defense.requires.items())
    )
    return TrainSpec(
        named=named,
        data=request.data,
        data_identity=content,
        architecture=architecture,
        budget=request.train_budget or source(request.data).budget,
        recipe=_set("recipe", _recipe(named, request), request.settings.get("recipe", {})),
        seed=seed,
        parents=parents,
        init=init,
        devices=request.devices,
        extra=request.extra,
    )


def _loaded(
    named: Named,
    request: Request,
    content: str | None,
    architecture: str,
    seed: int,
    given: Path | None = None,
) -> TrainSpec:
    """What stands for the training of a network that others trained: its weights, and no choice of ours."""
    held = shelf().given(named.defense) or _only_one(named) if given is None else None
    if held is not None:
        return _from_store(held, named, request, content, seed)
    foreign = cast(Foreign, named.defense)
    files = foreign.files(request.data, given, _place(request))
    init = Init.of(*files, option="--checkpoint")
    told = cast(Foreign, foreign.described(files[0])) if _is_network_untold(request) else foreign
    defense = told.holding(init.sha256)
    name = named.name if told.source == foreign.source else name_of(defense).name  # a folder is no name
    return TrainSpec(
        named=dataclasses.replace(named, name=name, defense=defense),
        data=request.data,
        data_identity=content,
        architecture=architecture,
        budget=source(request.data).budget,
        recipe=LOADED,
        seed=seed,
        parents=(),
        init=init,
    )


def _from_store(held: AtHand, named: Named, request: Request, content: str | None, seed: int) -> TrainSpec:
    """The same of a network that the store holds already."""
    found = TrainSpec(
        named=Named(named.name, held.defense, request.label or held.label),
        data=request.data,
        data_identity=content,
        architecture=held.architecture,
        budget=source(request.data).budget,
        recipe=LOADED,
        seed=seed,
        parents=(),
        init=Init(held.path or Path(), held.sha256),
    )
    held.require(found.id)
    return found


def _place(request: Request) -> WeightsPlace:
    return WeightsPlace(request.data_root, request.download)


def _is_network_untold(request: Request) -> bool:
    """Whether what lies beside a file of weights may say what its network is."""
    return request.architecture is None and request.factory is None


def _as_said(named: Named, request: Request) -> Named:
    if request.init is not None:
        raise BadValue(
            f"--init is {str(request.init)!r}, but nothing of {named.label} is trained, expected no --init",
            "bench run --defense loaded --checkpoint FILE",
        )
    if request.extra is not None:
        raise BadValue(
            f"--extra is {request.extra.source!r}, but nothing of {named.label} is trained, expected none",
            "a defense that is trained here, such as --defense trades",
        )
    if request.factory is not None and request.architecture is not None:
        raise BadValue(
            f"--factory is {request.factory!r} and --arch is {request.architecture!r}, expected one of them"
        )
    said: dict[str, Any] = {**request.foreign, **({"factory": request.factory} if request.factory else {})}
    if request.classes is not None:
        data = load(request.data, request.data_root, request.download)
        said["outputs"] = outputs_of(request.classes, data.classes, data.name)
    return dataclasses.replace(named, defense=_set("defense", named.defense, said))


def _labelled(named: Named, request: Request) -> Named:
    """The network under the name that the user gave it."""
    if request.label is None:
        return named
    if request.label in DEFENSES.names():
        raise BadValue(
            f"--label is {request.label!r}, which is the name of a defense here, expected another",
            f"--label my_{request.label}",
        )
    if not is_label(request.label):
        raise BadValue(
            f"--label is {request.label!r}, expected at most 40 letters, digits and . _ -",
            "--label my_network",
        )
    return dataclasses.replace(named, title=request.label)


def _check_trained_here(named: Named, request: Request) -> None:
    """What only makes sense for weights of others."""
    if request.label is not None:
        raise BadValue(
            f"--label is {request.label!r}, but {named.label} is trained here and has its name already, "
            "expected no --label",
            "--label with --defense loaded --checkpoint FILE",
        )
    if request.weights is not None:
        raise BadValue(
            f"--checkpoint is {str(request.weights)!r}, expected best or last, because {named.label} is "
            "trained here",
            "--defense loaded --checkpoint FILE, or --init FILE to begin training with it",
        )
    said = {**request.foreign, **({"classes": request.classes} if request.classes else {})}
    for name, text in said.items():
        raise BadValue(
            f"--{name} is {text!r}, but {named.label} is trained here, expected a network of others",
            "--defense loaded --checkpoint FILE",
        )
    if request.factory is not None:
        raise BadValue(
            f"--factory is {request.factory!r}, but {named.label} is trained here, expected --arch NAME",
            "--defense loaded --checkpoint FILE --factory module:callable",
        )


def _recipe(named: Named, request: Request) -> Recipe:
    """The named recipe; `paper` is the schedule of the defense's own publication."""
    if request.recipe != "paper":
        return recipe(request.data, request.recipe)
    if named.defense.reconstruction is not None:
        raise BadValue(
            f"{named.label} is a reconstruction, and the schedule of its publication is not known, expected "
            f"another recipe",
            "--recipe short",
        )
    return published(request.data, named.name, type(named.defense).__module__.rpartition(".")[2])


def _parent(
    parent: Defense | str, request: Request, content: str | None, architecture: str, seed: int
) -> TrainSpec:
    """The training of what a defense requires: a defense, its name or NAME@ARCH."""
    if not isinstance(parent, str):
        return _training(name_of(parent, request.data), request, content, architecture, seed)
    name, own = parse_network(parent)
    return _training(parse_defense(name, {}, request.data), request, content, own or architecture, seed)


def _suite(request: Request) -> Suite:
    if request.attacks:
        return _with_settings(_suite_of_attacks(request), request)
    if request.knowledge is not None:
        raise BadValue(
            f"--knowledge is {request.knowledge!r}, but every trial of a suite states its own, expected it "
            "with --attack",
            f"--attack pgd --knowledge {request.knowledge}",
        )
    name = request.suite.partition("@")[0]
    command = listing(name).command
    if command is not None:  # it fits detectors and chooses thresholds, which no table of attacks does
        raise BadValue(
            f"the suite is {request.suite!r}, which has a command of its own, expected {command}",
            f"{command} {request.defense} --data {request.data}",
        )
    return _with_settings(suite_named(request.suite), request)


def _suite_of_attacks(request: Request) -> Suite:
    """A column for each named attack, all with the same knowledge."""
    word = request.knowledge or "white-box"
    if word not in KNOWLEDGE:
        raise unknown("knowledge", word, KNOWLEDGE)
    trials: dict[str, Trial] = {}
    for name in request.attacks:
        attack, column = attack_named(name), column_of(name)
        if column in trials:
            raise BadValue(f"--attack gives the column {column} twice, expected every attack once")
        kind = Nearest if goes_on(attack, KNOWLEDGE[word]) else Trial
        trials[column] = kind(column, attack, KNOWLEDGE[word])
    return Suite(OF_ATTACKS, 1, tuple(trials.values()))


def _check_attack(name: str, trial: Trial, budget: Budget) -> None:
    """Refuse at once what would fail after hours of training."""
    attack, knows = trial.attack, trial.knowledge
    if isinstance(attack, OthersAttack):
        attack.require(budget)
    require_norm(attack, budget, name)
    asked = attack.needs
    answers = {Feedback.LOGITS: "scores", Feedback.LABELS: "labels"}.get(knows.feedback, "nothing")
    beyond = asked == "gradients" or (asked, answers) == ("scores", "labels")
    if knows.gradients is Source.NOTHING and beyond:
        raise BadValue(
            f"{name} needs {asked}, but --knowledge gives {answers} alone, expected an attack that needs no "
            "more",
            "bench list attacks",
        )


def _check_norms(suite: Suite, budget: Budget) -> None:
    """A suite is played whole or not at all: its worst case would be one of fewer attacks.

    But for scouts, which only look again at what others left: they are skipped, and say so.
    """
    for trial in suite.trials:
        norms = norms_of(trial.attack)
        if budget.norm not in norms and not isinstance(trial, Scout):
            raise BadValue(
                f"the attack {trial.column} of {suite.id} has {told(norms)}, but the budget's norm is "
                f"{budget.norm.value}, expected attacks that have it, named one by one",
                f"--attack pgd --attack fmn --norm {budget.norm.value} --eps {format_eps(budget.eps)}",
            )


def _with_settings(suite: Suite, request: Request) -> Suite:
    """The suite with what a request overrides in it and in its attacks."""
    suite = _set("suite", suite, request.settings.get("suite", {}))
    if suite.chunk < 1:
        raise BadValue(f"suite.chunk is {suite.chunk}, expected at least 1", "--set suite.chunk=500")
    columns = {trial.column: trial for trial in suite.trials}
    for part, settings in request.settings.items():
        kind, _, column = part.partition(".")
        if kind != "attack":
            continue
        if column not in columns:
            raise unknown("column", column, columns, owner=suite.id)
        attack = _set(part, columns[column].attack, settings)
        columns[column] = dataclasses.replace(columns[column], attack=attack)
    examples = suite.examples if request.examples is None else request.examples
    if examples == "all":
        examples = None
    if examples is not None and examples < 1:
        raise BadValue(f"--examples is {examples}, expected at least 1, or all")
    return dataclasses.replace(suite, trials=tuple(columns.values()), examples=examples)


def _numerics(request: Request) -> Numerics:
    numerics = _set("numerics", Numerics(), request.settings.get("numerics", {}))
    if numerics.eot_samples < 1:
        raise BadValue(
            f"numerics.eot_samples is {numerics.eot_samples}, expected at least 1",
            "--set numerics.eot_samples=20",
        )
    return numerics


def _check_parts(request: Request) -> None:
    for part in request.settings:
        if part not in ("defense", "recipe", "suite", "numerics") and not part.startswith("attack."):
            raise BadValue(f"--set {part}.… names no part of a run, expected one of {', '.join(PARTS)}")


def _set(part: str, value: T, settings: Mapping[str, Any]) -> T:
    """The value with fields overridden; what is wrong is told with the part's name, as it was typed."""
    for name in settings:
        if name in _NAMES.get(part, ()):
            raise BadValue(
                f"--set {part}.{name}={settings[name]} would rename what is published, expected a parameter "
                f"other than {', '.join(_NAMES[part])}"
            )
    try:
        return override(value, dict(settings))
    except BadValue as error:
        message, hint = error.message, error.hint
        for name in settings:
            if message.startswith(f"{name} is "):
                message = f"{part}.{message}"
            if hint == f"--set {name}=VALUE with a valid value":
                hint = f"--set {part}.{name}={_plain(encode(getattr(value, name)))}"
            elif hint and hint.startswith(f"{name}="):
                hint = f"--set {part}.{hint}"
        raise BadValue(message, hint) from None


def _plain(value: object) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)
