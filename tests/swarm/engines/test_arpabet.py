import asyncio
from collections import defaultdict
from pathlib import Path

import pocketsphinx
import pytest

from swarm.engines.arpabet import arpabet, pronounce
from swarm.engines.espeak import EspeakSynthesizer

PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
WORDS = """
turn on off the light lights lamp lamps kitchen living room bedroom bathroom office hallway garage garden front back
door window blinds curtains shutter fan heater heating thermostat temperature humidity degrees percent brightness
brighter dimmer warm cold red green blue white yellow orange purple pink set open close lock unlock start stop pause
play music volume up down next previous song timer minutes seconds hours alarm clock time date today tomorrow morning
evening night good what which where when who how much many is are was not yes no never mind cancel left right upstairs
downstairs cellar attic terrace balcony porch nursery study dining guest laundry pantry corridor stairs ceiling floor
wall desk table bed mirror television radio speaker coffee machine dishwasher washing dryer oven fridge freezer kettle
toaster vacuum cleaner robot sprinkler pump pool fountain gate chimney fireplace candle lantern chandelier spot strip
socket plug switch outlet sensor motion smoke water leak energy power battery solar car charger bicycle dog cat baby
child children mother father brother sister uncle aunt friend house home street city country weather rain snow wind
sun cloud storm spring summer autumn winter monday tuesday wednesday thursday friday saturday sunday one two three
four five six seven eight nine ten eleven twelve thirteen twenty thirty forty fifty hundred measure vision thing other
"""


def dictionary() -> dict[str, list[list[str]]]:
    """CMU's pronunciations, from the model inside the pocketsphinx package."""
    entries = defaultdict(list)
    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    for line in path.read_text().splitlines():
        word, *phones = line.split()
        entries[word.partition("(")[0]].append(phones)
    return entries


def edits(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


async def pronounced(words: list[str]) -> dict[str, list[str]]:
    espeak = EspeakSynthesizer()
    try:
        return await pronounce(espeak, words)
    finally:
        await espeak.close()


def test_common_words_sound_as_in_the_dictionary() -> None:
    entries = dictionary()
    words = [word for word in WORDS.split() if word in entries]
    assert len(words) > 200
    found = asyncio.run(pronounced(words))
    wrong = total = 0
    for word in words:
        best = min(entries[word], key=lambda phones: edits(phones, found[word]))
        wrong += edits(best, found[word])
        total += len(best)
    print(f"phone error rate {wrong / total:.3f} over {len(words)} words")
    assert wrong / total < 0.15


def test_every_phone_is_one_of_the_models() -> None:
    found = asyncio.run(pronounced(list(dictionary())[::50]))
    assert {phone for phones in found.values() for phone in phones} <= set(PHONES.split())


def test_names_that_no_dictionary_has_are_pronounced() -> None:
    found = asyncio.run(pronounced(["nabu", "zigbee", "mycroft", "Zoë's", "äöü", "", "123", "---"]))
    assert found["nabu"] == ["N", "AA", "B", "UW"]
    assert found["zigbee"] == ["Z", "IH", "G", "B", "IY"]
    assert found["123"][:4] == ["W", "AH", "N", "HH"]
    assert found[""] == []


@pytest.mark.parametrize(
    ("phonemes", "phones"),
    [
        ("l_'a_m_p", "L AE M P"),
        ("k_'I_tS_@_n", "K IH CH AH N"),
        ("b_'V_?_n-", "B AH T AH N"),
        ("n_'i@3", "N IH R"),
        ("'e@_r_I@_l", "EH R IH AH L"),
        ("h_'3:_r_i", "HH ER IY"),
        ("D_@2 f_'0_k_s", "DH AH F AA K S"),
        ("tSaIn@", "CH AY N AH"),
        ("", ""),
        ("§$", ""),
    ],
)
def test_mnemonics_become_phones(phonemes: str, phones: str) -> None:
    assert arpabet(phonemes) == phones.split()
