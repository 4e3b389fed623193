"""Locks and alarm panels.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

from hub.home.component import Component, Plan, Setting, Unsupported, chosen, one_of
from hub.home.components import required
from hub.home.entity import State, Verb
from hub.home.options import Options

ARMED = ("arm_home", "arm_away", "arm_night", "arm_vacation", "arm_custom_bypass")
STATES = (
    *("disarmed", "armed_home", "armed_away", "armed_night", "armed_vacation", "armed_custom_bypass"),
    *("arming", "pending", "disarming", "triggered"),
)


class Lock(Component):
    """Locked or unlocked."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._template = options.template("command_template")
        self._lock, self._unlock = options.text("payload_lock", "LOCK"), options.text("payload_unlock", "UNLOCK")
        meanings = {
            options.text(f"state_{word}", word.upper()): word
            for word in ("jammed", "unlocking", "locking", "unlocked", "locked")
        }
        self._reads(options.topic("state_topic"), options.template("value_template"), "value", one_of(meanings))
        self._needs_code = bool(options.text("code_format"))
        self.features.add("lock")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in ("lock", "unlock"):
            return super()._planned(verb, value, state)
        if self._needs_code:
            raise Unsupported("it wants a code")
        payload, wanted = (self._lock, "locked") if verb == "lock" else (self._unlock, "unlocked")
        return self._plan(self._send(self._topic, self._template, payload), value=wanted)


class AlarmPanel(Component):
    """Armed in one of several ways, or disarmed."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        state_topic = required(options, "state_topic")
        self._template = options.template("command_template")
        words = {state: state for state in STATES}
        self._reads(state_topic, options.template("value_template"), "value", one_of(words))
        self._disarm = options.text("payload_disarm", "DISARM")
        has_code = bool(options.text("code"))
        self._needs_code = {
            verb: has_code and options.flag(f"code_{verb}_required", default=True) for verb in ("arm", "disarm")
        }
        able = options.texts("supported_features") if "supported_features" in options else ARMED
        payloads = {
            way.removeprefix("arm_"): options.text(f"payload_{way}", way.upper()) for way in ARMED if way in able
        }
        if payloads:
            self.settings["arm"] = Setting("value", self._topic, self._template, payloads)
        self.features.add("arm")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in ("arm", "disarm") or (verb == "arm" and "arm" not in self.settings):
            return super()._planned(verb, value, state)
        if self._needs_code[verb]:
            raise Unsupported("it wants a code")
        goals: tuple[str, ...] = ("disarmed",)
        if verb == "disarm":
            payload = self._disarm
        else:
            way = chosen(self.settings["arm"], str(value))
            payload, goals = self.settings["arm"].payloads[way], (f"armed_{way}", "arming", "pending")
        sent = self._send(self._topic, self._template, payload, action=payload, code=None)
        return self._plan(sent, reached=lambda _, now: now.value in goals, value=goals[0])
