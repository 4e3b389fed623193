import pytest

from swarm.wake_phrase import strip_wake_phrase


@pytest.mark.parametrize(
    "text",
    [
        "okay nabu turn on the lamp",
        "Okay, Nabu, turn on the lamp",
        "OK Nabu. turn on the lamp",
        "O.K. nabu! turn on the lamp",
        "Okay Naboo, turn on the lamp",
        "Okay na bu turn on the lamp",
        "okay nebu - turn on the lamp",
        "Nabu, turn on the lamp",
        "Hey Jarvis, turn on the lamp",
        "hey jervis turn on the lamp",
        "Jarvis turn on the lamp",
        "Hey, Mycroft… turn on the lamp",
        "hey my croft turn on the lamp",
        "Alexa, turn on the lamp",
        "  Alexa turn on the lamp",
    ],
)
def test_takes_the_phrase_and_its_near_misses_off(text: str) -> None:
    assert strip_wake_phrase(text) == "turn on the lamp"


@pytest.mark.parametrize(
    "text",
    [
        "Turn on the lamp.",
        "Okay, turn on the lamp.",
        "okay now turn it off",
        "Hey, what time is it?",
        "Alex's lamp on",
        "Alexis is at the door",
        "hey Jarrett, dinner is ready",
        "Who is Alexa?",
        "Tell me about okay nabu",
        "Relax music please",
        "Navy blue lights",
        "my lamp",
        "",
        "...",
        "Привет",
    ],
)
def test_leaves_every_other_sentence_as_it_is(text: str) -> None:
    assert strip_wake_phrase(text) == text


@pytest.mark.parametrize("text", ["Okay Nabu.", "hey jarvis", "Alexa!"])
def test_a_phrase_alone_leaves_nothing(text: str) -> None:
    assert strip_wake_phrase(text) == ""


def test_only_the_given_phrases_count() -> None:
    assert strip_wake_phrase("okay nabu stop", ["hey jarvis"]) == "okay nabu stop"
    assert strip_wake_phrase("computer stop", ["computer"]) == "stop"
    assert strip_wake_phrase("okay nabu stop", []) == "okay nabu stop"
