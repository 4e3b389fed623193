"""MQTT as an interface for people's automations; off until a person switches it on (`[mqtt_api]`).

::

    mycoswarm/api/ask            text in, answer out          {"text", "area"?, "language"?}, or the bare text
    mycoswarm/api/say            say or play at satellites    {"text" | "media", "to"?, "but"?, "chime"?, "volume"?,
                                                               "interrupt"?, "language"?}, or the bare text
    mycoswarm/api/listen         listen without a wake word   {"to"}
    mycoswarm/api/timer/set                                   {"hours"? "minutes"? "seconds"?, "name"?, "to"?}
    mycoswarm/api/timer/cancel                                {"timer"} or {"name"} or {"all": true}
    mycoswarm/api/answer         what became of each          {"id", "command", "ok", …} or {…, "error", "hint"}
    mycoswarm/api/event/KIND     wake, transcript, intent, answer, timer: `hub.happenings`

Each command may carry an `id` (text or number), which comes back in its answer. Commands are published with QoS 1 and
never retained: a retained one would be obeyed again at each restart, so it is not, and the answer says so. QoS 1 may
deliver one twice. Answers and events are QoS 1 and not retained.

Why off: whoever can publish on the home's broker can switch its devices already, but not make the house speak, listen
or tell what was said in it. What comes by these topics has a program's rights: it is never asked back, so it unlocks
nothing that a person would be asked about; it approves no machine and changes no setting. The words of people are told
(`transcript`, `answer`) only where a person switched on that too, `transcripts`.
"""
