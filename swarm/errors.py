"""Every error that mycoswarm raises on purpose.

::

    MycoswarmError
    ├── ConfigError          the configuration is wrong: says file, line and key
    │   └── Unreadable       a settings file of which nothing can be read (provisioning.first_boot.reading)
    ├── MalformedMessage     a peer sent bytes that are no message of ours, or too many
    ├── AudioError           a recording that cannot be used
    │   └── AudioDeviceError a microphone or speaker that is missing or went away
    ├── EngineError          an engine failed at its task
    │   ├── EngineUnavailable  the engine cannot be built here: says what is missing
    │   └── BadPayload       what a task asks makes no sense (swarm.task)
    ├── BusError             the MQTT broker cannot be started or reached
    │   └── HassError        Home Assistant did not do, or does not know, what it was asked for (hub.home.hass_socket)
    │       └── TokenRefused it does not take the token
    ├── UnknownEntity        nothing in the home is called so, or several things are (hub.home.labels)
    ├── UnfitWords           an area or alias that nobody could say (hub.home.labels)
    ├── StorageError         the node cannot write its database (disk full, read-only)
    ├── LedgerError          the ledger cannot do what was asked (swarm.ledger.errors)
    │   ├── NotEntitled      the roster does not allow this node to write that
    │   ├── DamagedLedger    the database is not as it was written
    │   └── SyncError        another node gave something that cannot be taken, or gave nothing
    ├── BadCertificate       a certificate that is none of ours (swarm.certificates)
    ├── BadToken             a text that is no join token (swarm.tokens)
    ├── JoinFailed           this machine was not let in (swarm.joining)
    ├── UpdateRefused        a bundle that this node does not install, whoever asks (swarm.updates.slots)
    ├── NoRoute              the routing table has no rule for a task (swarm.routing)
    ├── TooManyTasks         this node has all the tasks that it can keep track of (swarm.task_record)
    ├── KeyConflict          an idempotency key was used for two different tasks (swarm.task_record)
    ├── AnswerTooLong        the answer to a task exceeds its bound (swarm.event_log)
    ├── Refused              what a handler of the nodes' port answers instead (swarm.node_api)
    ├── PeerRefused          another node answered that it does not do this (swarm.peer_session)
    ├── NotSwitched          a server goes on with HTTP instead of another protocol (swarm.switching)
    ├── NoImage              a file or disk holds no image of ours (provisioning.image.boot_partition)
    ├── DamagedImage         an image is not what its block map says (provisioning.image.flash)
    ├── NotVerified          an image is not what was signed, or not by whom it should be (provisioning.image.checksums)
    ├── FlashFailed          a disk did not take an image (provisioning.image.flash)
    └── NodeUnreachable      no node answers where one was expected
        └── PeerUnreachable  another node of the swarm: says which layer failed (swarm.peer_session)

Those with a module are defined there, beside what raises them.
"""


class MycoswarmError(Exception):
    """The root: `str(error)` says what happened and to which thing, `hint` what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def for_person(self) -> str:
        """The message with its hint on a second line, as the command line prints it."""
        return f"{self}\n  {self.hint}" if self.hint else str(self)

    def for_log(self) -> str:
        """The message with its hint on one line."""
        return f"{self} ({self.hint})" if self.hint else str(self)


class ConfigError(MycoswarmError):
    """The configuration is wrong."""


class MalformedMessage(MycoswarmError):
    """Bytes from a peer that are not a message, or exceed a bound of `swarm.codec`."""


class AudioError(MycoswarmError):
    """A recording that cannot be used."""


class AudioDeviceError(AudioError):
    """A microphone or speaker that is missing, busy or was unplugged."""


class EngineError(MycoswarmError):
    """An engine failed at its task."""


class EngineUnavailable(EngineError):
    """The engine cannot be built on this node."""


class BusError(MycoswarmError):
    """The broker cannot be started or reached."""


class StorageError(MycoswarmError):
    """The node's database cannot be written."""


class NodeUnreachable(MycoswarmError):
    """No node of ours answers where one was expected."""
