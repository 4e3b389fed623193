"""The state that all nodes share: signed operations, kept on every node, from which everything else is derived.

::

    operation      what is written: one change, and its place in a log
    hybrid_time    when, in an order that agrees with cause and effect
    run            how operations travel: a stretch of one log under one signature; the proof that a log was forked
    roster         who belongs to the swarm and who may admit others, decided from the operations alone
    entries        settings, timers, jobs: sets that merge
    storage        the SQLite file
    journal        what the one writing thread does: append, take in, derive
    ledger         the whole, for the event loop
    outgoing       the one place that hands operations to other nodes, by privacy
    sync           asking and answering over the nodes' port
    bench          how fast it is
"""
