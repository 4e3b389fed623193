"""What goes wrong with the ledger.

::

    MycoswarmError
    └── LedgerError
        ├── NotEntitled      the roster does not allow this node to write that
        ├── DamagedLedger    the database is not as it was written
        └── SyncError        another node gave something that cannot be taken, or gave nothing
"""

from swarm.errors import MycoswarmError


class LedgerError(MycoswarmError):
    """The ledger cannot do what was asked."""


class NotEntitled(LedgerError):
    """The roster does not allow this node to write that."""


class DamagedLedger(LedgerError):
    """The database is not as it was written: nothing is served or derived from it."""


class SyncError(LedgerError):
    """Another node gave something that cannot be taken, or gave nothing."""
