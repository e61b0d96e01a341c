"""Settings: from a YAML file, then the environment, then arguments; the later ones win.

    policy:                              CONSILIENCE_POLICY__TARGET=0.9        load_settings(policy__target=0.9)
      target: 0.9

Every setting is named by its path, `policy.target`; in variables and arguments a double underscore stands for the dot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from consilience.core.errors import SettingsError
from consilience.core.image_limits import ImageLimits
from consilience.core.settings.decision_settings import DecisionSettings
from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.settings.settings_group import Names, SettingsGroup, split_names
from consilience.core.settings.settings_problem import SettingSource, groups_in, nearest, problem
from consilience.core.settings.web_settings import WebSettings
from consilience.core.storage.yaml_file import read_yaml_mapping

PREFIX = "CONSILIENCE_"

FILE_VARIABLE = "CONSILIENCE_SETTINGS"
"""Names the settings file where no path is given."""

OTHER_VARIABLES = (
    "CONSILIENCE_CACHE",
    "CONSILIENCE_CONFIG",
    "CONSILIENCE_PANEL",
    FILE_VARIABLE,
    "CONSILIENCE_TEST_DATA",
    "CONSILIENCE_WEB_TOKEN",
)
"""Environment variables of Consilience that are no settings."""


def _no_encoder_twice(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the encoder '{twice[0]}' is named twice: a second eye must see otherwise")
    return names


EncoderNames = Annotated[tuple[str, ...], BeforeValidator(split_names), AfterValidator(_no_encoder_twice)]
"""Names of encoders, given as `Names` are."""


class MemorySettings(SettingsGroup):
    """Settings of the image memory: where similar cases are looked up, and how many."""

    url: str | None = Field(
        default=None, repr=False, description="address of a Chroma server; none: the panel's own index"
    )
    neighbours: int = Field(default=10, ge=1, le=100, description="similar cases to retrieve for an image")


class PolicySettings(SettingsGroup):
    """Settings of the decision: when a diagnosis is settled, and what may be spent on it."""

    settle: Literal["conformal", "risk_control"] = Field(
        default="conformal",
        description="what settles: that one label is left in the prediction set, or a promised accuracy of the settled",
    )
    coverage: float = Field(
        default=0.95, gt=0, le=1, description="share of images, of each label, whose prediction set holds their label"
    )
    target: float = Field(
        default=0.95, gt=0, le=1, description="share of settled diagnoses that are right, where accuracy settles"
    )
    delta: float = Field(
        default=0.1, gt=0, lt=1, description="chance that the labelled images mislead about the target"
    )
    agreed_posterior: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="posterior that settles where trust is estimated from agreement alone; none: that all agents agree",
    )
    second_look: Literal["when-it-helps", "always", "never"] = Field(
        default="when-it-helps", description="whether agents look again with evidence in hand"
    )
    value_usd: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="what a diagnosis changed for the better is worth, in US dollars",
    )
    max_rounds: int = Field(default=3, ge=1, le=5, description="how often predictions may be weighed")
    max_seconds: float = Field(default=300.0, gt=0, allow_inf_nan=False, description="wall time of one run")
    max_cost_usd: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="cost of the answers to one image; none: no bound"
    )
    max_run_cost_usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="what one fit, or one Diagnoser while it is open, may spend on answers; none: no bound",
    )
    confirm_above_usd: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="estimated cost of models' answers above which a terminal is asked first, in US dollars",
    )
    agent_timeout_seconds: float = Field(
        default=120.0, gt=0, allow_inf_nan=False, description="time that an agent has for each image of a batch"
    )
    max_novelty: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="novelty above which an image is referred: the share of known images passed; 1: never for novelty",
    )
    refer_unjudgeable: bool = Field(
        default=True,
        description="whether images too dark, bright, blurred, cut or small beside the panel's own are referred",
    )
    max_disagreement: float = Field(
        default=0.5, ge=0, le=1, description="disagreement of the agents above which nothing is settled"
    )
    on_shift: Literal["refer", "report"] = Field(
        default="refer",
        description="what follows where images differ from the labelled ones: all are referred, or it is only reported",
    )


class RepliesSettings(SettingsGroup):
    """Settings of the store of models' answers, which is kept so that none is paid for twice."""

    keep: bool = Field(default=True, description="whether answers are kept")
    path: Path | None = Field(
        default=None, description="the file; none: replies.sqlite in the folder that CONSILIENCE_CACHE names"
    )
    max_megabytes: int = Field(
        default=256, ge=1, description="size beyond which the answers go that were not used for longest"
    )


class HistorySettings(SettingsGroup):
    """Settings of the history: where diagnoses and feedback are kept."""

    keep: bool = Field(default=True, description="whether commands and servers keep diagnoses")
    url: str | None = Field(
        default=None, repr=False, description="SQLAlchemy address of a database; none: history.sqlite in the panel"
    )
    thumbnails: bool = Field(default=True, description="whether a small picture of the image is kept as well")


class LearningSettings(SettingsGroup):
    """Settings of learning from feedback: when it counts, and how long older evidence does."""

    review: Literal["at-once", "agreement", "person"] = Field(
        default="person", description="feedback counts at once, when people agree, or when a person has accepted it"
    )
    people: int = Field(default=2, ge=1, le=100, description="people who must agree, where agreement counts")
    half_life_images: float = Field(
        default=1000.0,
        gt=0,
        description="learned images after which half of the older evidence no longer counts for trust",
    )


class Settings(SettingsGroup):
    """All settings. `load_settings` collects them; an unknown or wrong one is an error."""

    encoders: EncoderNames = Field(
        default=("efficientnet-lite0",), min_length=1, description="what embeds images, by name; several look together"
    )
    device: str = Field(default="auto", min_length=1, description="where the encoder runs: auto, cpu, cuda, mps, ...")
    agents: Names | None = Field(
        default=None, description="names of the agents to fit on the encoder's features, or auto; none: the usual ones"
    )
    models: tuple[ModelSettings, ...] = Field(
        default=(), repr=False, description="models that are agents, each of a kind"
    )
    captioner: str | None = Field(
        default=None, description="which of these agents describes each labelled image for caps-adapter; none: nobody"
    )
    batch_size: int = Field(default=64, ge=1, le=4096, description="images that are worked on at a time")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="of every random choice")
    images: ImageLimits = Field(default=ImageLimits(), description="what an image may be")
    memory: MemorySettings = Field(default=MemorySettings(), description="where similar cases are looked up")
    policy: PolicySettings = Field(default=PolicySettings(), description="when a diagnosis is settled")
    decision: DecisionSettings = Field(
        default=DecisionSettings(), description="how often labels occur in use, and what mistakes cost"
    )
    replies: RepliesSettings = Field(default=RepliesSettings(), description="where models' answers are kept")
    history: HistorySettings = Field(default=HistorySettings(), description="where diagnoses and feedback are kept")
    learning: LearningSettings = Field(default=LearningSettings(), description="when feedback counts")
    web: WebSettings = Field(default=WebSettings(), description="what the web server lets people do")
    reasoner: ReasonerSettings | None = Field(
        default=None, description="the language model that reads the record; none: rules"
    )

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        names = [model.name for model in models]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two agents are called '{twice[0]}'; give each a name of its own")
        return models


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        groups = groups_in(field.annotation)
        if groups and get_origin(field.annotation) is not tuple:
            yield from _fields(groups[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field


FIELDS: Mapping[str, FieldInfo] = dict(_fields(Settings))
"""Every setting by its path, such as 'policy.target'."""


def load_settings(path: str | Path | None = None, **arguments: Any) -> Settings:
    """Return the settings of a file, the environment and arguments; the later ones win.

    >>> load_settings(seed=7, policy__target=0.9).policy.target
    0.9

    Args:
        path: a YAML file; None: the one that the variable CONSILIENCE_SETTINGS names, if it names one.
        arguments: settings by path, `__` for the dot; None counts as not given. A variable that is empty
            counts as not set. `agents` may be one text with commas; `models` is a list of mappings or of
            settings.

    Raises:
        SettingsError: the file cannot be read; a setting is unknown, of a wrong type or out of range. The
            message names the file, variable or argument.
    """
    path = path or os.environ.get(FILE_VARIABLE)
    values = _from_file(path) if path else {}
    values |= _from_environment(os.environ)
    values |= _from_arguments(arguments)
    nested: dict[str, Any] = {}
    for key, (value, _) in values.items():
        *groups, name = key.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as cause:
        problems = dict.fromkeys(problem(error, Settings, values) for error in cause.errors())
        raise SettingsError("; ".join(problems)) from cause


def settings_or(settings: Settings | None, arguments: Mapping[str, Any]) -> Settings:
    """Return `settings` if they are given, else those that `load_settings` makes of the arguments.

    Raises:
        SettingsError: both are given, or an argument is wrong.
    """
    if settings is None:
        return load_settings(**arguments)
    if arguments:
        raise SettingsError(f"give either settings or arguments, not both: {', '.join(arguments)}")
    return settings


def _from_file(path: str | Path) -> dict[str, SettingSource]:
    origin = f"the settings file '{path}'"
    try:
        data = read_yaml_mapping(path)
    except ValueError as cause:
        raise SettingsError(f"{origin} {cause}") from cause
    values = {}
    for key, value in _flat(data, origin):
        if key not in FIELDS:
            raise SettingsError(f"{origin} sets '{key}', which is no setting{nearest(key, FIELDS)}")
        if key in values:
            raise SettingsError(f"{origin} sets '{key}' twice: once by its path, once within its group")
        values[key] = SettingSource(value, origin)
    return values


def _flat(data: Mapping[Any, Any], origin: str, group: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        key = f"{group}{name}"
        members = [other for other in FIELDS if other.startswith(f"{key}.")]
        if not members:
            yield key, value
        elif isinstance(value, dict):
            yield from _flat(value, origin, f"{key}.")
        elif value is not None:  # a group's name with nothing below it sets nothing
            raise SettingsError(f"{origin}: '{key}' must hold settings ({', '.join(members)}), not one value")


def _from_environment(environment: Mapping[str, str]) -> dict[str, SettingSource]:
    variables = {PREFIX + key.replace(".", "__").upper(): key for key in FIELDS}
    values = {}
    for name, value in environment.items():
        if name in variables and value:
            values[variables[name]] = SettingSource(value, f"the variable {name}")
        elif name.startswith(PREFIX) and name not in variables and name not in OTHER_VARIABLES:
            hint = nearest(name, (*variables, *OTHER_VARIABLES))
            raise SettingsError(f"the variable {name} is no setting{hint}; correct or unset it")
    return values


def _from_arguments(arguments: Mapping[str, Any]) -> dict[str, SettingSource]:
    by_name = {key.replace(".", "__"): key for key in FIELDS}
    values = {}
    for name, value in arguments.items():
        if name not in by_name:
            raise SettingsError(f"the argument '{name}' is no setting{nearest(name, by_name)}")
        if value is not None:
            values[by_name[name]] = SettingSource(value, f"the argument '{name}'")
    return values
