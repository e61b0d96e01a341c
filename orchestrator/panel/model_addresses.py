"""Where a panel's agents are asked or their answers read: by the user's settings, or as the user has confirmed."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from consilience.core.errors import SettingsError, UnconfirmedAddressError
from consilience.core.settings.answers_settings import AnswersSettings
from consilience.core.settings.confirmed_addresses import (
    AgentPlace,
    AnswerFile,
    ModelAddress,
    confirm_addresses,
    confirmed_addresses,
)
from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.model_settings import EndpointSettings, ReasonerSettings
from consilience.core.settings.settings import Settings
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.panel_folder import PanelFolder, read_manifest
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.panel.panel_records import models_from_dict

log = logging.getLogger(__name__)

MODELS_FILE = "models.json"


def addresses_of(models: Sequence[ModelSettings], reasoner: ReasonerSettings | None) -> dict[str, AgentPlace]:
    """Return by name where each agent, and the reasoner, is asked, or its answers are read; not of models in here."""
    places: dict[str, AgentPlace] = {}
    for model in models:
        if isinstance(model, EndpointSettings):
            places[model.name] = ModelAddress.of(model)
        elif isinstance(model, AnswersSettings):
            places[model.name] = AnswerFile(str(model.path))
    return places if reasoner is None else places | {REASONER: ModelAddress.of(reasoner)}


def with_models_of(
    panel: Path,
    id: str,
    models: Sequence[ModelSettings],
    reasoner: ReasonerSettings | None,
    settings: Settings,
    supplied: Collection[str] = (),
) -> Settings:
    """Return settings that say of each model where it is asked: as they did, else as the panel says and is confirmed.

    Args:
        panel, id: the panel's folder, and its id.
        models, reasoner: as the panel holds them.
        settings: the user's.
        supplied: names of agents that are given otherwise, and so are not looked for.

    Raises:
        UnconfirmedAddressError: the user has not confirmed an address, or a file, that the panel alone names.
    """
    added, reasoner = _of_panel_alone(models, reasoner, settings, supplied)
    if unconfirmed := _unconfirmed(id, addresses_of(added, reasoner), settings):
        named = "; ".join(f"'{name}' {address.words()}" for name, address in unconfirmed.items())
        raise UnconfirmedAddressError(
            f"the panel '{panel}' names what you have not confirmed, models that are sent images and keys, or files "
            f"that are read: {named}. If they are right, run 'consilience confirm {shlex.quote(str(panel))}' once, or "
            "give settings that name them ('models', 'reasoner')"
        )
    return settings.model_copy(
        update={"models": (*settings.models, *added), "reasoner": settings.reasoner or reasoner},
    )


def unconfirmed_addresses(panel: Path, settings: Settings) -> tuple[str, dict[str, AgentPlace]]:
    """Return a panel's id, and by agent the addresses and files that it alone names and the user has not confirmed.

    It reads no more than their settings: whoever opens the panel then checks all of it, and these addresses too.

    Raises:
        PanelError: the panel is missing, damaged or too new.
        SettingsError: the file of confirmed addresses cannot be read.
    """
    id, models, reasoner = models_of(panel)
    return id, _unconfirmed(id, addresses_of(*_of_panel_alone(models, reasoner, settings)), settings)


def models_of(panel: Path) -> tuple[str, tuple[ModelSettings, ...], ReasonerSettings | None]:
    """Return a panel's id, its models and its reasoner; none where they cannot be read: whoever opens it says why.

    Raises:
        PanelError: the panel is missing, damaged or too new.
    """
    folder = PanelFolder(panel, read_manifest(panel))
    try:
        return folder.id, *models_from_dict(parsed_json((folder.state / MODELS_FILE).read_bytes()))
    except (OSError, ValueError):
        return folder.id, (), None


def confirm_own(id: str, models: Sequence[ModelSettings], reasoner: ReasonerSettings | None) -> None:
    """Note that whoever fitted a panel wants its models asked where they were asked; `id`: the panel's."""
    if addresses := addresses_of(models, reasoner):
        try:
            confirm_addresses(id, addresses.values())
        except SettingsError as cause:  # a machine that keeps nothing: settings can name them
            log.warning("%s", cause)


def _of_panel_alone(
    models: Sequence[ModelSettings],
    reasoner: ReasonerSettings | None,
    settings: Settings,
    supplied: Collection[str] = (),
) -> tuple[list[ModelSettings], ReasonerSettings | None]:
    """Return the models and the reasoner that a panel names and the user's settings do not."""
    named = {model.name for model in settings.models} | {*supplied}
    return [model for model in models if model.name not in named], None if settings.reasoner else reasoner


def _unconfirmed(id: str, addresses: Mapping[str, AgentPlace], settings: Settings) -> dict[str, AgentPlace]:
    if not addresses:
        return {}
    own = {*addresses_of(settings.models, settings.reasoner).values()}
    confirmed = own | confirmed_addresses(id)
    return {name: address for name, address in addresses.items() if address not in confirmed}
