"""Which answer a question gets that the records of a diagnosis and its panel are enough for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.core.diagnosis import Diagnosis
from consilience.frontends.chat.label_answers import others, why_not
from consilience.frontends.chat.panel_record import how_often_right, overall
from consilience.frontends.chat.question import ChatQuestion
from consilience.frontends.chat.reliance import THANKED, can_be_trusted, what_to_do
from consilience.frontends.chat.reply import Reply
from consilience.frontends.chat.rule_answers import how_sure, what_if, who, why
from consilience.frontends.chat.suggestions import HELP

if TYPE_CHECKING:
    from consilience.orchestrator.diagnoser import Diagnoser
    from consilience.orchestrator.reloading import ReloadingDiagnoser


def answer_from_records(
    question: ChatQuestion,
    diagnosis: Diagnosis,
    id: str,
    diagnoser: Diagnoser | ReloadingDiagnoser,
    *,
    can_refer: bool,
) -> Reply:
    """Return the answer to a question; help, where neither record holds what it asks for. Computes: call in a thread.

    Args:
        id: of the diagnosis.
        can_refer: whether a person is set up to refer to.

    Raises:
        PanelError: the panel cannot weigh the recorded predictions any more.
    """
    weigher, panel, settings = diagnoser.weigher, diagnoser.panel, diagnoser.settings
    match question.kind:
        case "without":
            return what_if(diagnosis, id, question.agents, weigher)
        case "sure":
            return how_sure(diagnosis, id, weigher, question.labels)
        case "who":
            return who(diagnosis, id, question.agents)
        case "why":
            return why(diagnosis, id)
        case "others":
            return others(diagnosis, id)
        case "why not":
            return why_not(diagnosis, id, question.labels, weigher.policy)
        case "do":
            return what_to_do(diagnosis, id, weigher.policy, can_refer=can_refer)
        case "trust":
            claim = panel.claim(settings.policy, settings.decision)
            return can_be_trusted(diagnosis, id, weigher.policy, overall(claim))
        case "record":
            claim = panel.claim(settings.policy, settings.decision)
            known = panel.calibration_set_in_use(settings.decision)
            return how_often_right(id, claim, known, panel.task.names, question.labels)
        case "thanks":
            return Reply(THANKED, diagnosis=id)
    return Reply(HELP, diagnosis=id)
