"""PBFT: a replicated service that survives its traitors.

Sources, as the rules' labels name them: "1999" is Castro and Liskov, "Practical Byzantine Fault
Tolerance", OSDI 1999; "2002" is Castro and Liskov, "Practical Byzantine Fault Tolerance and
Proactive Recovery", ACM TOCS 20(4), 2002.

What a replica says to another in the normal case is authenticated by CURVE and bears no signature.
View changes are forwarded as proof, so they are signed. A prepared certificate then cannot be shown
to others, and the view change is the one of 2002, section 4.4, which needs none: P and Q.

    messages.py        what replicas and clients say            wire.py     packets of it, as bytes
    configuration.py   n, f, and a switch an optimisation       quorums     at the end of it
    events.py          what can happen to a replica             effects.py  what it can ask for
    replica/           the machine, a chapter a file: request .. reply, checkpoints, view changes
    log.py             slots, P and Q between the watermarks
    view_change.py     view-change, new-view and the choice of O, as pure functions
    execution.py       exactly-once over a service; checkpoints of both
    transfer.py        fetching a state, page by page
    service.py         what a service is                        key_value.py   one
    client.py          the client's machine
    authentication.py  digests, authenticators and signatures
"""
