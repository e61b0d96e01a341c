"""Answers from the record of a diagnosis, by rules: no image is looked at, and no figure is made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilience.core.diagnosis import Diagnosis
from consilience.core.images import Image
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.heat_map import HeatMap
from consilience.core.render.phrases import (
    claims_no_label,
    headline,
    novelty_words,
    one_line,
    percent,
    reading_words,
    reasons_of,
)
from consilience.core.render.tables import (
    CASE_COLUMNS,
    NARROW_AGENT_COLUMNS,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)
from consilience.frontends.chat.reply import WHERE_PICTURE, Button, Reply, ReplyPicture, ReplyTable
from consilience.orchestrator.decision.agreement_policy import AgreementPolicy
from consilience.orchestrator.decision.calibration_set import MIN_JUDGED_POSTERIOR
from consilience.orchestrator.decision.leave_out import without
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.feedback.drift import AgentDrift

MAX_LABELS, MAX_CASES = 5, 8
"""Rows of a table of labels, and of one of similar cases, at most."""

MAX_LABEL_BUTTONS = 20
"""Labels that have a button each; more are in a menu."""


def diagnosis_reply(
    diagnosis: Diagnosis, id: str, image: Image | None, labels: Sequence[str], *, can_refer: bool
) -> Reply:
    """Return a diagnosis as a reply: the verdict, what each agent says, the evidence, the rationale, and buttons.

    Args:
        id: of the diagnosis.
        image: what is drawn in the picture; None: there is no picture.
        labels: the labels of the panel's task today.
        can_refer: whether a person is set up to refer to.
    """
    return Reply(
        "\n".join(filter(None, [headline(diagnosis), *doubts(diagnosis), reading_words(diagnosis)])),
        agents_table(diagnosis),
        () if image is None else (_picture(diagnosis, image),),
        one_line(diagnosis.rationale, 2000),
        _buttons(diagnosis, labels, can_refer),
        id,
        diagnosis.settled,
    )


def fallen_sentence(drift: AgentDrift) -> str:
    """Return a sentence about an agent that has become worse: since when, by how much, and how certain that is."""
    since = "" if drift.since is None else f" since {drift.since:%Y-%m-%d}"
    recent = "–" if drift.recent is None else percent(drift.recent)
    return (
        f"The agent {one_line(look_name(drift.agent, drift.stage))} has become worse: it was right on {recent} of the "
        f"{drift.recent_images} images that people checked{since}, and on {percent(drift.fitted)} when the panel was "
        f"fitted. By chance alone, so large a drop has a probability of {percent(drift.p_value)}."
    )


def agents_table(diagnosis: Diagnosis) -> ReplyTable:
    """Return what each agent says, how much it counts, and how right and well calibrated the agent is."""
    rows = agent_rows(diagnosis.predictions, diagnosis.trust)
    return ReplyTable(NARROW_AGENT_COLUMNS, tuple(agent_cells(rows, NARROW_AGENT_COLUMNS)))


def why(diagnosis: Diagnosis, id: str) -> Reply:
    """Return the rationale, and why a person should look."""
    rationale = one_line(diagnosis.rationale, 2000)
    unsaid = [] if reasons_of(diagnosis) in rationale else doubts(diagnosis)  # rules write them into the rationale
    return Reply("\n".join([rationale, *unsaid]), diagnosis=id)


def who(diagnosis: Diagnosis, id: str, agents: Sequence[str] = ()) -> Reply:
    """Return which agents named another label, which changed their mind, and which did not answer.

    Args:
        agents: what they say is told first.
    """
    label = diagnosis.label
    weighed = [prediction for prediction in diagnosis.predictions if prediction.calibrated is not None]
    against = [prediction for prediction in weighed if prediction.counted_label != label]
    lines = [_says(prediction) for prediction in diagnosis.predictions if prediction.agent in agents]
    if not weighed:
        lines.append("No agent's answer counts.")
    elif not against:
        lines.append(f"Nobody disagreed: all {len(weighed)} answers that count say {one_line(label)}.")
    else:
        answers = ", ".join(
            f"{name_of(prediction)} says {one_line(prediction.counted_label or '')}" for prediction in against
        )
        lines.append(f"{len(against)} of {len(weighed)} answers disagree with {one_line(label)}: {answers}.")
    first = {prediction.agent: prediction.label for prediction in diagnosis.predictions if prediction.stage == "first"}
    for prediction in diagnosis.predictions:
        before = first.get(prediction.agent)
        if prediction.stage == "second" and prediction.label is not None and before not in (None, prediction.label):
            lines.append(
                f"{one_line(prediction.agent)} changed from {one_line(before or '')} to {one_line(prediction.label)}."
            )
    if silent := [name_of(prediction) for prediction in diagnosis.predictions if prediction.probabilities is None]:
        lines.append(f"No answer from {', '.join(silent)}.")
    return Reply("\n".join(lines), agents_table(diagnosis), diagnosis=id)


def similar(diagnosis: Diagnosis, id: str, image: Image | None) -> Reply:
    """Return the most similar labelled cases."""
    rows = [case_cells(neighbour) for neighbour in diagnosis.evidence.neighbours[:MAX_CASES]]
    return Reply(
        novelty_words(diagnosis.evidence, diagnosis.novelty),
        ReplyTable(CASE_COLUMNS, tuple(rows)) if rows else None,
        () if image is None else (_picture(diagnosis, image),),
        diagnosis=id,
    )


def where(diagnosis: Diagnosis, id: str, image: Image, heat: HeatMap) -> Reply:
    """Return which regions speak for the label and which for the runner-up, over the image."""
    return Reply(heat.words, pictures=(_picture(diagnosis, image, heat),), diagnosis=id)


def how_sure(diagnosis: Diagnosis, id: str, weigher: Weigher, labels: Sequence[str] = ()) -> Reply:
    """Return the posterior, the prediction set, and how often such an answer was right on labelled images.

    Args:
        labels: that are asked about; of theirs the posterior is told, however small.
    """
    rows = [(row.name, percent(row.share)) for row in posterior_rows(diagnosis, MAX_LABELS)]
    lines = [headline(diagnosis), *(f"{one_line(name)}: {percent(diagnosis.posterior[name])}." for name in labels)]
    if len(possible := diagnosis.prediction_set) > 1:
        together = percent(sum(diagnosis.posterior[label] for label in possible))
        lines.append(f"It is {' or '.join(map(one_line, possible))} with {together}.")
    lines += how_settled(weigher.policy)
    return Reply("\n".join([*lines, *doubts(diagnosis)]), ReplyTable(("Label", "Posterior"), tuple(rows)), diagnosis=id)


def how_settled(policy: Policy) -> list[str]:
    """Return in a sentence when the panel is confident, and how often it is right then."""
    if isinstance(policy, AgreementPolicy):
        return ["Nothing is promised: the panel's trust is estimated from how far its agents agree, and not measured."]
    if policy.costs is not None:
        return [
            "The panel names the label that is expected to cost least, and is confident when that is less than the "
            f"{policy.costs.person:.3g} that asking a person costs."
        ]
    if policy.follows_sets:
        return [
            "The panel is confident when every other label can be excluded and the posterior is at least "
            f"{percent(MIN_JUDGED_POSTERIOR)}. Of images like the labelled ones it excludes the true label in at most "
            f"{percent(1.0 - policy.settings.coverage)}."
        ]
    threshold = policy.threshold
    if threshold.probability is None:
        return []
    return [
        f"The panel is confident from {percent(threshold.probability)} on; on labelled images such answers were right "
        f"in {percent(threshold.accuracy)} of the cases."
    ]


def what_if(diagnosis: Diagnosis, id: str, agents: tuple[str, ...], weigher: Weigher) -> Reply:
    """Return what the recorded predictions say without some agents.

    Raises:
        PanelError: the panel cannot weigh them any more.
    """
    if not agents:
        names = ", ".join(dict.fromkeys(one_line(prediction.agent) for prediction in diagnosis.predictions))
        return Reply(f"Without which agent? Choose from: {names}.", diagnosis=id)
    names = " and ".join(map(one_line, agents))
    other, same = without(diagnosis, agents, weigher), without(diagnosis, (), weigher)
    if other is None or same is None:
        return Reply(f"Without {names} no answer is left.", diagnosis=id)
    lines = [f"Without {names}: {in_full(other)}.", *doubts(other), f"With all agents: {in_full(diagnosis)}."]
    if any(abs(same.posterior[label] - share) > 5e-4 for label, share in diagnosis.posterior.items()):
        lines.append(
            f"Weighed today, with all agents: {in_full(same)}; the panel has learned since, or a reasoner decided."
        )
    return Reply("\n".join(lines), agents_table(other), diagnosis=id)


def second_look_reply(diagnosis: Diagnosis, before: Diagnosis, reply: Reply) -> Reply:
    """Return the reply to a new diagnosis of the same image, with what has changed."""
    again = [one_line(prediction.agent) for prediction in diagnosis.predictions if prediction.stage == "second"]
    if again:
        what = f"{', '.join(again)} looked again, with the similar cases in hand."
    elif diagnosis.settled:
        what = "The first answers were clear, so no agent was asked to look again."
    else:
        what = "No agent of this panel can look a second time."
    return replace(reply, text=f"{reply.text}\n{what} Before: {headline(before)}.")


def by_posterior(diagnosis: Diagnosis) -> list[str]:
    """Return the labels of a diagnosis, the most probable first."""
    return sorted(diagnosis.posterior, key=diagnosis.posterior.__getitem__, reverse=True)


def in_full(diagnosis: Diagnosis) -> str:
    """Return the headline, with the label where it claims none: for a question about the figures."""
    label = f"{one_line(diagnosis.label)}, {percent(diagnosis.probability)}"
    return headline(diagnosis) + (f"; if it is one, most likely {label}" if claims_no_label(diagnosis) else "")


def doubts(diagnosis: Diagnosis) -> list[str]:
    """Return in a sentence why a person should look; nothing where the diagnosis is settled."""
    return [f"Why a person should look: {reasons_of(diagnosis)}."] if diagnosis.reasons else []


def name_of(prediction: Prediction) -> str:
    """Return the name of the look that a prediction comes from."""
    return one_line(look_name(prediction.agent, prediction.stage))


def _says(prediction: Prediction) -> str:
    counted, label = prediction.calibrated or prediction.probabilities, prediction.counted_label
    if counted is None or label is None:
        return f"{name_of(prediction)} gave no answer."
    ignored = "" if prediction.calibrated is not None else "; it does not count"
    return f"{name_of(prediction)} says {one_line(label)}, {percent(counted[label])}{ignored}."


def _picture(diagnosis: Diagnosis, image: Image, heat: HeatMap | None = None) -> ReplyPicture:
    def draw() -> bytes:
        from consilience.core.render.picture import drawn

        return drawn(diagnosis, image, heat)

    alt_text = (
        f"{headline(diagnosis)}. The image, the posterior, each agent's answer and weight, the most similar cases."
    )
    if heat is not None:
        return ReplyPicture(WHERE_PICTURE, f"{alt_text} {heat.words}", draw)
    return ReplyPicture("evidence.png", alt_text, draw)


def referral_buttons(diagnosis: Diagnosis, labels: Sequence[str]) -> tuple[Button, ...]:
    """Return the buttons for whom an image is referred to: one for each label, unless there are many, and no answer."""
    names = _ranked(diagnosis, labels)
    named = tuple(Button(one_line(name, 60) or "?", "label", value=name) for name in names)
    no_label = (Button("None of these", "none"), Button("Can't tell", "unsure"), Button("Where did it look?", "where"))
    return (*(named if len(names) <= MAX_LABEL_BUTTONS else _votes(diagnosis, labels)), *no_label)


def _buttons(diagnosis: Diagnosis, labels: Sequence[str], can_refer: bool) -> tuple[Button, ...]:
    return (
        *_votes(diagnosis, labels),
        Button("None of these", "none"),
        *([Button("Refer to a person", "refer")] if can_refer else []),
        Button("Where did it look?", "where"),
    )


def _votes(diagnosis: Diagnosis, labels: Sequence[str]) -> tuple[Button, ...]:
    names = _ranked(diagnosis, labels)
    return (
        Button(f"It is {one_line(diagnosis.label, 60)}" if claims_no_label(diagnosis) else "Right", "right"),
        Button("Wrong: it is…", "wrong", tuple(name for name in names if name != diagnosis.label)),
    )


def _ranked(diagnosis: Diagnosis, labels: Sequence[str]) -> list[str]:
    """Return the labels, most probable first: they keep their places, and those that the task got since come last."""
    return [*by_posterior(diagnosis), *(label for label in labels if label not in diagnosis.posterior)]
