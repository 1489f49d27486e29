"""Interactive consistency: n instances of a lockstep protocol in the same frames, and a combiner.

Pease, Shostak, Lamport, "Reaching Agreement in the Presence of Faults", JACM 27(2), 1980: each
general is commander once, of his own value; all loyal generals end with the same vector, and its
i-th entry is general i's own value if he is loyal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Body, Bundle, Content, Empty, Parcels
from node.orders import Combiner, Domain, GeneralId, Value
from node.protocols.lockstep import Lockstep
from node.quorums import combine, tally


class InteractiveConsistency:
    """One general's part: `instances[j]` is his part in the instance that j commands."""

    def __init__(self, instances: Sequence[Lockstep], combiner: Combiner, domain: Domain) -> None:
        self.rounds = max(instance.rounds for instance in instances)
        self.instances = instances
        self._combiner = combiner
        self._domain = domain

    def speakers(self, round: int) -> frozenset[GeneralId]:
        return frozenset().union(*(instance.speakers(round) for instance in self.instances))

    def say(self, round: int) -> list[Send]:
        """One frame a receiver, with the body of every instance; empty where it says nothing."""
        bodies: dict[GeneralId, list[Body]] = {}
        messages: dict[GeneralId, int] = {}
        rules: set[str] = set()
        for index, instance in enumerate(self.instances):
            for send in instance.say(round):
                assert not isinstance(send.body, Bundle | Parcels)
                rules.add(send.rule)
                for peer in send.to:
                    parts = bodies.setdefault(peer, [Empty()] * len(self.instances))
                    parts[index] = send.body
                    messages[peer] = messages.get(peer, 0) + send.messages
        rule = "+".join(sorted(rules))
        return [
            Send((peer,), round, Bundle(tuple(parts)), messages[peer], rule)
            for peer, parts in sorted(bodies.items())
        ]

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        effects: list[Effect] = []
        bundles: dict[GeneralId, tuple[Body, ...]] = {}
        for speaker, body in heard.items():
            if isinstance(body, Bundle) and len(body.parts) == len(self.instances):
                bundles[speaker] = body.parts
            else:
                effects.append(Refuse(speaker, Reason.BAD_SHAPE, rule="IC"))
        for index, instance in enumerate(self.instances):
            effects += self._hear_instance(round, index, instance, bundles)
        return effects

    def decide(self) -> Decide:
        vector: list[Value] = []
        for instance in self.instances:
            value = instance.decide().value
            assert not isinstance(value, tuple)
            vector.append(value)
        value = combine(vector, self._combiner, self._domain)
        return Decide(value=value, tally=tally(vector), rule="IC")

    def _hear_instance(
        self,
        round: int,
        index: int,
        instance: Lockstep,
        bundles: Mapping[GeneralId, tuple[Body, ...]],
    ) -> list[Effect]:
        """Hands an instance its speakers' parts; a part of one who has no say in it is refused."""
        speakers = instance.speakers(round)
        spoken: dict[GeneralId, Content] = {}
        intruders: list[Effect] = []
        for speaker, parts in bundles.items():
            if speaker in speakers:
                spoken[speaker] = parts[index]
            elif not isinstance(parts[index], Empty):
                intruders.append(Refuse(speaker, Reason.NOT_AWAITED, rule="IC"))
        return intruders + instance.hear(round, spoken)
