"""What is said in the benchmark: commands to the virtual flat, sentences that are no command, and by whom."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

T = TypeVar("T")

WAKE_PHRASES = {
    "okay_nabu": "okay nabu",
    "alexa": "alexa",
    "hey_jarvis": "hey jarvis",
    "hey_mycroft": "hey mycroft",
}
"""What is said to each wake model."""

SPEAKERS = ("en-us", "en-us+f2", "en-gb-x-rp+m3", "flite:slt")
"""Who says commands: they differ in sex, accent and synthesizer."""
SPEAKERS_WITHOUT_FLITE = (*SPEAKERS[:3], "en-029+f1")

TELEVISION_VOICES = ("en-us+m7", "en-us+f4", "en-gb-scotland+m1")
"""Who talks on television; nobody of them says commands."""

WAKE_VOICES = (
    *("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc"),
    *(f"en-us+{voice}" for voice in ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")),
    *(f"en-us+{voice}" for voice in ("adam", "announcer", "aunty", "belinda", "david", "ian", "linda", "paul")),
    *(f"en-us+{voice}" for voice in ("quincy", "rob", "robert", "shelby", "steph", "victor")),
    *("en-gb-x-rp+m3", "en-gb-scotland+f2", "en-029+f1"),
)
"""Who says wake words, and talks for an hour without saying one."""


class Halting(NamedTuple):
    """A command said with a short stop for thought."""

    before: str
    pause_s: float
    after: str


HALTING = (
    Halting("turn on", 0.2, "the kitchen lamp"),
    Halting("set a timer for", 0.25, "ten minutes"),
    Halting("turn off the", 0.25, "coffee machine"),
    Halting("set the bedroom lamp to", 0.25, "fifty percent"),
    Halting("make the living room lamp", 0.2, "red"),
    Halting("what is the temperature in", 0.25, "the living room"),
)
"""What comes before the stop is no command."""

AMBIGUOUS = (
    Halting("turn on the kitchen lamp", 0.1, "and the bedroom lamp"),
    Halting("close the blinds", 0.1, "in the living room"),
    Halting("what is the temperature", 0.1, "in the living room"),
)
"""What comes before the stop is a command by itself."""

NO_SPOKEN_ANSWER = ("never mind", "stop", "yes", "no")
"""Commands that are answered by silence or a sound, or that answer a question."""

COMMANDS = tuple(
    """\
turn on the kitchen lamp
turn off the kitchen lamp
switch on the living room lamp
turn the bedroom lamp off
turn on the lights in the kitchen
turn off all the lights
turn off the bedroom lights
switch off the coffee machine
turn on the coffee machine
set the living room lamp to fifty percent
dim the kitchen lamp to twenty percent
set the bedroom lamp brightness to seventy percent
make the living room lamp red
set the living room lamp to blue
set the bedroom lamp to warm white
turn the living room lights green
dim the bedroom lamp
make the kitchen lamp brighter
open the living room blinds
close the living room blinds
set the living room blinds to thirty percent
stop the living room blinds
are the living room blinds open
turn on the bedroom fan
set the bedroom fan to sixty percent
turn off the bedroom fan
set the temperature to twenty one degrees
set the living room to nineteen degrees
set the living room thermostat to twenty two degrees
what is the temperature in the living room
how warm is it in the bedroom
what is the humidity in the living room
lock the front door
unlock the front door
is the front door locked
is the kitchen window open
is the kitchen lamp on
which lights are on
start the movie night scene
turn on the kitchen lamp and the bedroom lamp
turn off the hallway light and turn on the bedroom fan
turn off everything in the living room
set a timer for five minutes
set a timer for ten minutes
timer for twenty minutes
set a pizza timer for twelve minutes
set a timer for half an hour
cancel the timer
cancel the pizza timer
how much time is left on the timer
pause the timer
add five minutes to the timer
what time is it
what is the date
set the volume to forty percent
turn the volume down
never mind
stop
what can you do
repeat that
yes
no
switch the hallway light on
close the blinds in the living room
""".splitlines()
)

NOT_COMMANDS = tuple(
    """\
i think we should go to the beach on saturday
did you remember to call your sister yesterday
the train was late again this morning
there is some cake left in the fridge if you want
my boss wants the report by friday afternoon
the neighbours are having a party tonight
i really liked the book you gave me
where did you put my car keys
he said that he would come over after work
we need more milk and some butter
the dog has to go to the vet next week
what do you want to eat for dinner
it looks like it is going to rain
i have never been to portugal before
the children are playing in the garden
please pass me the salt and the pepper
that movie was far too long for me
she bought a new bicycle for her birthday
can you help me carry this table upstairs
the doctor told him to drink more water
let us meet at the station around noon
i forgot my umbrella at the office
our holiday starts in three weeks
the price of bread went up again
he plays the guitar in a small band
who wrote that letter to the newspaper
the washing machine makes a strange noise
maybe we can watch the football game together
her new job begins on the first of may
they painted the whole house yellow
i am going to read for a while
do you know how old this bridge is
there was a long queue at the bakery
my phone battery is almost empty
the soup needs a little more garlic
we could visit your parents on sunday
the lecture about history was very interesting
he lost his wallet on the bus
how was your day at school
i would rather stay home this evening
the cat is sleeping on the sofa
they want to build a new library downtown
put the dishes away when you are done
the mountain was covered with snow
i can not find the other shoe
it took us four hours to drive home
she speaks french and a little spanish
we planted tomatoes and beans this spring
somebody is knocking at the neighbour's door
the meeting was moved to thursday
please remind your brother about the tickets
that joke was not funny at all
the river is very high this year
he always talks about his old motorcycle
i need to buy a present for my aunt
the shop on the corner closed last month
what did the teacher say about the test
all of the apples fell from the tree
it is your turn to take out the trash
i heard a funny story on the radio
the baby finally fell asleep
they are thinking about moving to canada
this coffee tastes a bit bitter
we ran out of paper for the printer
my knee hurts when i climb stairs
are you coming with us to the concert
the museum is free on the first sunday
i dreamed about flying last night
grandma is baking cookies for everybody
the plane landed twenty minutes early
could you speak with the landlord about the rent
there were at least two hundred people
he opened a small restaurant near the harbour
the battery in my watch is dead
nobody told me that the date had changed
it was the best concert of the year
she is learning to play the piano
the road is blocked because of an accident
i am reading about the second world war
we should paint the fence in summer
the package will arrive on monday
you have a little sauce on your shirt
the old man walks his dog every morning
let me know when you are ready to leave
they sold more than a thousand tickets
i still have to write the invitations
the cake was gone within ten minutes
his office is on the third floor
what a beautiful sunset tonight
we took the wrong turn after the church
the movie starts at a quarter past eight
my favourite colour has always been green
do not forget to feed the fish
she fell off her horse but she is fine
the lights of the city looked amazing
my sister turned thirty last week
he opened the window because it was hot
the kitchen smells of fresh bread
set the table before the guests arrive
the lamp in the museum was very old
""".splitlines()
)

NEWS = (
    "good evening and welcome to the late programme, our top story tonight is the weather in the northern counties",
    "the minister said on tuesday that the new railway would be finished before the end of the decade",
    "and now we go live to our reporter in the city centre, who has been speaking with people on the street",
    "it was the third time in a row that the visitors scored in the last minute of the match",
    "scientists have found a small fish that lives deeper in the ocean than anybody thought possible",
)


def spread(items: tuple[T, ...], count: int) -> tuple[T, ...]:
    """`count` of `items`, evenly from the first to the last."""
    if count >= len(items):
        return items
    return tuple(items[index * len(items) // count] for index in range(count))
