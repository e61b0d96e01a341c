"""The bot in Socket Mode, from what people do in Slack to what they see there."""

from __future__ import annotations

import io
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import PIL.Image
import pytest

from tests.support.fake_slack import BOT, BOT_TOKEN, FakeSlack
from tests.support.slack_bot import Running, Start, png

MENTION = f"<@{BOT}> what is this?"


def named(text: str) -> str:
    """The label that an answer begins with, settled or not."""
    return text.removeprefix("refer to a person: most likely ").split(",")[0]


def test_an_uploaded_image_is_answered_in_its_thread(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    [answer] = slack.answers(event["ts"])
    slack.reacted(event, "white_check_mark")
    assert answer.texts[0] == "Looking at round.png…"  # at once, and then changed into the answer
    assert answer.text == "circle, 98.8 %, confident"  # 42 images support no more
    verdict, agents, rationale, buttons = answer.blocks
    assert verdict["elements"][0]["elements"][0]["text"].startswith("circle, 98.8 %")
    assert len(agents["elements"][0]["elements"]) == 4
    assert "gaussian" in str(agents)
    assert "of the weight" in str(rationale)
    assert [element["action_id"] for element in buttons["elements"]] == ["right", "wrong", "none", "refer", "where"]
    assert [option["text"]["text"] for option in buttons["elements"][1]["options"]] == ["square", "stripes"]
    [(channel, thread, picture)] = slack.uploads
    assert (channel, thread) == ("C1", event["ts"])
    assert PIL.Image.open(io.BytesIO(picture)).size == (1400, 900)
    assert slack.calls.index("reactions.add") < slack.calls.index("chat.update")


def test_each_of_several_images_and_links_is_answered(slack: FakeSlack, bot: Running) -> None:
    slack.public["far.png"] = png("stripes")
    link = f"<http://127.0.0.1:{slack.port}/public/far.png|far>"
    files = [slack.upload(png("circle"), "a.png"), slack.upload(png("square"), "b.png")]
    event = slack.say(f"<@{BOT}> these and {link}", *files)
    slack.deliver(event)
    answers = slack.answers(event["ts"], 3)
    assert {answer.texts[0] for answer in answers} == {
        f"Looking at {name}…" for name in ("a.png", "b.png", "the image")
    }
    assert {named(answer.text) for answer in answers} == {"circle", "square", "stripes"}
    slack.reacted(event, "white_check_mark")


def test_images_of_messages_that_are_passed_on_are_looked_at(slack: FakeSlack, bot: Running) -> None:
    shared = {"is_share": True, "text": "look", "files": [slack.upload(png("circle"), "shared.png")]}
    quoted = {"message_blocks": [{"message": {"files": [slack.upload(png("square"), "quoted.png")]}}]}
    event = slack.say(f"<@{BOT}> what are these?", attachments=[shared, quoted, shared, "no attachment"])
    slack.deliver(event)
    answers = slack.answers(event["ts"], 2)
    assert {answer.texts[0] for answer in answers} == {"Looking at shared.png…", "Looking at quoted.png…"}
    assert {named(answer.text) for answer in answers} == {"circle", "square"}
    assert {token for _, token in slack.tokens_seen} == {f"Bearer {BOT_TOKEN}"}


def test_a_picture_that_slack_shows_for_a_link_is_not_looked_at_twice(slack: FakeSlack, bot: Running) -> None:
    slack.public["far.png"] = png("stripes")
    url = f"http://127.0.0.1:{slack.port}/public/far.png"
    event = slack.say(f"<@{BOT}> <{url}>", attachments=[{"from_url": url, "image_url": url}])
    slack.deliver(event)
    [answer] = slack.answers(event["ts"])
    assert named(answer.text) == "stripes"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_mention_that_comes_before_its_file(slack: FakeSlack, bot: Running, is_there: bool) -> None:
    """Slack may tell of the mention first, without the file; the message with it follows."""
    message = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    mention = {key: message[key] for key in ("channel", "user", "text", "ts")} | {"type": "app_mention"}
    if is_there:
        slack.said[message["ts"]] = message
    slack.deliver(mention)
    slack.deliver(message)
    answers = slack.answers(message["ts"], 1 if is_there else 2)
    assert [named(answer.text) for answer in answers if "round.png" in answer.texts[0]] == ["circle"]


def test_the_token_goes_to_uploaded_files_and_nowhere_else(slack: FakeSlack, bot: Running) -> None:
    slack.public["far.png"] = png("stripes")
    event = slack.say(
        f"<@{BOT}> <http://127.0.0.1:{slack.port}/public/far.png>", slack.upload(png("circle"), "near.png")
    )
    slack.deliver(event)
    slack.answers(event["ts"], 2)
    seen = {path.split("/")[1]: token for path, token in slack.tokens_seen}
    assert seen == {"files-pri": f"Bearer {BOT_TOKEN}", "public": None}


def test_follow_ups_in_the_thread_are_answered_and_small_talk_is_not(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    slack.answers(event["ts"])
    for text in ("lovely weather", "thanks!", "who disagreed?"):
        slack.deliver(slack.say(text, user="U2", thread=event["ts"]))
    _, answer = slack.answers(event["ts"], 2)
    assert answer.text == "Nobody disagreed: all 4 answers that count say circle."
    slack.deliver(slack.say("why?", thread="1600000000.000001"))  # a thread in which it was not asked
    slack.deliver(slack.say(f"<@{BOT}> lovely weather", thread=event["ts"]))
    *_, last = slack.answers(event["ts"], 3)
    assert last.text.startswith("I can't answer that. Try: can I trust this?")
    assert len(slack.messages) == 3


def test_in_a_direct_message_nobody_needs_to_mention_it(slack: FakeSlack, bot: Running) -> None:
    hello = slack.say("hello", channel="D1")
    slack.deliver(hello)
    assert slack.answers(hello["ts"])[0].text.startswith("Give me an image")
    slack.deliver(image := slack.say("", slack.upload(png("square"), "s.png"), channel="D1"))
    assert named(slack.answers(image["ts"])[0].text) == "square"
    slack.deliver(question := slack.say("how sure?", channel="D1"))
    assert named(slack.answers(question["ts"])[0].text) == "square"


def test_an_image_is_compared_with_the_one_before_it_in_the_channel(slack: FakeSlack, bot: Running) -> None:
    slack.deliver(other := slack.say(f"<@{BOT}>", slack.upload(png("stripes"), "stripes.png"), channel="C2"))
    slack.answers(other["ts"])
    slack.deliver(first := slack.say(MENTION, slack.upload(png("square"), "square.png")))
    slack.answers(first["ts"])
    slack.deliver(slack.say("and compared to the one before?", thread=first["ts"]))
    assert slack.answers(first["ts"], 2)[-1].text.startswith("There is no other image before this one")
    slack.deliver(second := slack.say(MENTION, slack.upload(png("circle"), "round.png"), user="U2"))
    slack.answers(second["ts"])
    slack.deliver(slack.say("look again", thread=second["ts"], user="U2"))
    slack.answers(second["ts"], 2)
    slack.deliver(slack.say("compare with the last one", thread=second["ts"], user="U2"))
    assert "Before (square.png): square" in slack.answers(second["ts"], 3)[-1].words


def test_to_look_again_the_image_is_fetched_again(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    slack.answers(event["ts"])
    for count in (2, 3):  # the second time it is about the diagnosis that came of the first
        slack.deliver(slack.say("look again", thread=event["ts"]))
        assert "Before: circle" in slack.answers(event["ts"], count)[-1].words
    slack.files.clear()
    slack.deliver(slack.say("look again", thread=event["ts"]))
    assert "'round.png' was deleted from Slack" in slack.answers(event["ts"], 4)[-1].words


def test_right_and_wrong_are_kept_with_who_said_so(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    [answer] = slack.answers(event["ts"])
    slack.press(answer, "right", user="U1")
    assert "Saved: circle." in slack.answers(event["ts"], 2)[-1].text
    slack.press(answer, "wrong", option=1, user="U2")
    assert "Saved: stripes. Somebody else says circle: a reviewer must decide" in slack.answers(event["ts"], 3)[-1].text
    [stored] = bot.chat.history.find()
    assert [(vote.person, vote.label) for vote in bot.chat.feedbacks.of(stored.id)] == [
        ("U1", "circle"),
        ("U2", "stripes"),
    ]
    slack.press(answer, "none", user="U3")
    assert "Saved: none of these." in slack.answers(event["ts"], 4)[-1].text
    bot.chat.history.delete([stored.id])
    slack.press(answer, "right", user="U3")
    assert "deleted" in slack.answers(event["ts"], 5)[-1].text


def test_where_it_looked_is_shown_on_request(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    [answer] = slack.answers(event["ts"])
    assert len(slack.uploads) == 1
    slack.press(answer, "where", user="U2")
    pressed = slack.answers(event["ts"], 2)[-1]
    assert pressed.texts[0] == "Looking it up…"
    assert "speak for circle" in pressed.words
    slack.deliver(slack.say("where did it look?", thread=event["ts"]))
    assert slack.answers(event["ts"], 3)[-1].words == pressed.words
    (_, _, evidence), *shown = slack.uploads
    assert [(channel, thread) for channel, thread, _ in shown] == [("C1", event["ts"])] * 2
    assert shown[0][2] == shown[1][2] != evidence
    assert PIL.Image.open(io.BytesIO(shown[0][2])).size == (1400, 900)


def test_an_image_is_referred_once_to_people_in_a_channel(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    [answer] = slack.answers(event["ts"])
    for user in ("U1", "U1", "U2"):
        slack.press(answer, "refer", user=user)
    assert slack.answers(event["ts"], 2)[-1].text == "Referred to the people in CREF."
    [referral] = [message for message in slack.messages.values() if message.channel == "CREF"]
    assert "<@U1> asks a person to look at an image: https://test.slack.com/archives/C1/" in referral.words
    assert "circle" in referral.words
    assert slack.uploads[-1][:2] == ("CREF", referral.ts)


def test_who_an_image_is_referred_to_answers_by_a_button_in_its_thread(slack: FakeSlack, bot: Running) -> None:
    slack.deliver(event := slack.say(MENTION, slack.upload(png("circle"), "round.png")))
    [answer] = slack.answers(event["ts"])
    slack.press(answer, "refer")
    slack.until(lambda: any(message.channel == "CREF" for message in slack.messages.values()), "a referral")
    [referral] = [message for message in slack.messages.values() if message.channel == "CREF"]
    [actions] = [block for block in referral.blocks if block["type"] == "actions"]
    texts = [element["text"]["text"] for element in actions["elements"]]
    assert texts[0] == "circle"
    assert sorted(texts[1:3]) == ["square", "stripes"]
    assert texts[3:] == ["None of these", "Can't tell", "Where did it look?"]
    slack.press(referral, "unsure", user="U7")
    assert slack.answers(referral.ts, 1)[-1].words.startswith("That you can't tell is an answer, too.")
    square = f"label:{texts.index('square')}"
    slack.press(referral, square, user="U8")
    assert slack.answers(referral.ts, 2)[-1].words.startswith("Saved: square. Waiting for review")
    slack.press(referral, "label:0", user="U9")
    said = "Saved: circle. Somebody else says square: a reviewer must decide."
    assert slack.answers(referral.ts, 3)[-1].words.startswith(said)


def test_what_is_delivered_twice_is_answered_once(slack: FakeSlack, bot: Running) -> None:
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    for delivery in (event, event, event | {"type": "app_mention"}):
        slack.deliver(delivery)
    slack.deliver(other := slack.say(MENTION, slack.upload(png("square"), "s.png")))
    slack.answers(event["ts"])
    slack.answers(other["ts"])
    assert len(slack.messages) == 2
    assert len(list(bot.chat.history.find())) == 2


def test_its_own_messages_and_edits_are_nothing_to_answer(slack: FakeSlack, bot: Running) -> None:
    slack.deliver(slack.say("why?", channel="D1", user=BOT))
    slack.deliver(slack.say("why?", channel="D1", bot_id="B9"))
    slack.deliver(slack.say("why?", channel="D1", subtype="message_changed"))
    slack.deliver(asked := slack.say("help", channel="D1"))
    slack.answers(asked["ts"])
    assert len(slack.messages) == 1


@pytest.mark.parametrize(
    ("data", "mimetype", "words"),
    [
        (b"%PDF-1.7 ...", "application/pdf", "'x.png' is application/pdf, not an image"),
        (b"these are no pixels", "image/png", "'x.png' is not an image, whatever its name says"),
        (b"\x89PNG" + bytes(200_000), "image/png", "has more than the 100,000 bytes allowed"),
        (None, "", "'x.png' was deleted from Slack before it could be fetched; upload it again"),
    ],
)
def test_what_is_no_image_is_answered_with_why(
    slack: FakeSlack, start: Start, data: bytes | None, mimetype: str, words: str
) -> None:
    with start(max_bytes=100_000):
        file = slack.upload(data or b"", "x.png", mimetype)
        if data is None:
            slack.files.clear()
        event = slack.say(MENTION, file, slack.upload(png("circle"), "good.png"))
        slack.deliver(event)
        bad, good = slack.answers(event["ts"], 2)
        assert words in bad.words
        assert good.text.startswith("circle")
        slack.reacted(event, "warning", "white_check_mark")


def test_a_file_that_slack_does_not_let_it_see_names_the_scope(slack: FakeSlack, bot: Running) -> None:
    file = slack.upload(png("circle"), "secret.png")
    file["url_private_download"] = file["url_private_download"].replace("127.0.0.1", "localhost")  # not its API's host
    event = slack.say(MENTION, file)
    slack.deliver(event)
    assert "lacks the scope files:read" in slack.answers(event["ts"])[0].words
    assert slack.tokens_seen == [(slack.tokens_seen[0][0], None)]


def test_one_person_who_waits_long_holds_up_nobody_else(slack: FakeSlack, bot: Running) -> None:
    slow = slack.upload(png("circle"), "slow.png")
    slack.held.add(slow["id"])
    slack.deliver(first := slack.say(MENTION, slow, user="U1"))
    slack.deliver(second := slack.say(MENTION, slack.upload(png("square"), "quick.png"), user="U2"))
    assert named(slack.answers(second["ts"])[0].text) == "square"
    assert not [message for message in slack.messages.values() if message.thread == first["ts"] and message.is_answer]
    slack.held.clear()
    assert slack.answers(first["ts"])[0].text.startswith("circle")


@pytest.mark.slow
def test_rate_limits_are_obeyed(slack: FakeSlack, bot: Running) -> None:
    slack.faults["chat.postMessage"] += [1, 1]
    slack.faults["chat.update"] += [1]
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    slack.answers(event["ts"])
    assert slack.calls.count("chat.postMessage") == 3
    assert len(slack.messages) == 1


def test_trouble_of_slack_passes_and_the_answer_comes(slack: FakeSlack, bot: Running) -> None:
    slack.faults["chat.postMessage"] += ["internal_error"]
    slack.faults["files.completeUploadExternal"] += ["service_unavailable"]
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    slack.answers(event["ts"])
    assert len(slack.messages) == 1
    assert len(slack.uploads) == 1
    assert len(list(bot.chat.history.find())) == 1


def test_a_missing_right_to_react_costs_no_answer(slack: FakeSlack, bot: Running) -> None:
    slack.faults["reactions.add"] += ["missing_scope", "missing_scope"]
    event = slack.say(MENTION, slack.upload(png("circle"), "round.png"))
    slack.deliver(event)
    assert slack.answers(event["ts"])[0].text.startswith("circle")


def test_it_ends_when_its_token_is_revoked(slack: FakeSlack, bot: Running) -> None:
    slack.token = "xoxb-another"  # noqa: S105
    slack.deliver(slack.say(MENTION, slack.upload(png("circle"), "round.png")))
    assert bot.ended.wait(60)
    assert "does not accept the token in SLACK_BOT_TOKEN" in str(bot.error)
    assert BOT_TOKEN not in str(bot.error)


@pytest.mark.slow
def test_a_restart_goes_on_where_it_was(slack: FakeSlack, start: Start, panel: Path) -> None:
    files = [slack.upload(png(label), f"{label}.png") for label in ("circle", "square")]
    slack.held.add(files[1]["id"])
    with start():
        event = slack.say(MENTION, *files)
        slack.deliver(event)
        slack.answers(event["ts"])
        slack.until(lambda: len(slack.messages) == 2, "a second message")
    slack.held.clear()
    with start() as bot:
        assert bot.resumed == 1
        slack.deliver(event)  # Slack had no answer to its last delivery
        assert {named(answer.text) for answer in slack.answers(event["ts"], 2)} == {"circle", "square"}
        slack.reacted(event, "white_check_mark")
        assert len(slack.messages) == len(slack.uploads) == len(list(bot.chat.history.find())) == 2
    with start() as bot:
        assert bot.resumed == 0


def test_a_restart_gives_the_reaction_that_an_answer_was_due(slack: FakeSlack, start: Start, panel: Path) -> None:
    def until_noted() -> None:
        """Slack has the reaction before the inbox notes it: a bot that is stopped in between gives it again."""
        end = time.monotonic() + 60
        with closing(sqlite3.connect(panel / "slack.sqlite")) as inbox:
            while inbox.execute("SELECT count(*) FROM requests WHERE reaction != ''").fetchone() != (0,):
                assert time.monotonic() < end, "the reaction is not noted"
                time.sleep(0.01)

    with start():
        event = slack.say(MENTION, slack.upload(png("circle"), "circle.png"))
        slack.deliver(event)
        slack.reacted(event, "white_check_mark")
        until_noted()
    slack.reactions[event["ts"]] = {"eyes"}  # as if killed between the answer and its mark
    with closing(sqlite3.connect(panel / "slack.sqlite")) as inbox, inbox:
        inbox.execute("UPDATE requests SET reaction = 'white_check_mark'")
    with start() as bot:
        slack.reacted(event, "white_check_mark")
        until_noted()
        assert bot.resumed == 0
    with start():
        pass
    assert (slack.calls.count("reactions.add"), len(slack.messages)) == (3, 1)
