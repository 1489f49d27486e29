"""One replica of PBFT, a pure machine: `on_event(event) -> list[Effect]`.

Rules are methods named after the paper's words, and their labels are in the effects. Whatever a
replica promises others is first a record on stable storage: `_promise` asks for the record to be
persisted, and the message leaves, and counts as this replica's own, when `Persisted` comes back.

The parts are one class, chapter by chapter, each built on those above it:

    standing.py        what a replica knows; its promises, and how it asks for something
    state_transfer.py  the state of others, page by page                  2002, section 5.3.2
    checkpoints.py     equal digests, a stable one, garbage collection    1999, section 4.3
    requests.py        request, reply, read-only request                  1999, section 4.1
    delivery.py        execution in order, early execution, roll-back     2002, section 5.1.2
    normal_case.py     pre-prepare, prepare, commit                       1999, section 4.2
    view_changes.py    view-change, new-view                              1999, section 4.4
    catching_up.py     status, and what is said again                     2002, section 5.2
    coming_back.py     from the records on stable storage
    machine.py         `Replica`: what happens goes to the rule that it concerns
"""

from node.protocols.pbft.replica.coming_back import Recovered
from node.protocols.pbft.replica.machine import Replica
from node.protocols.pbft.replica.standing import STATUS

__all__ = ["STATUS", "Recovered", "Replica"]
