"""A service's scenario: what the user wrote about replicas, clients, traitors and misfortunes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from node.effects import Milestone
from node.protocols.pbft.configuration import REPLICAS_MAX, REPLICAS_MIN, Configuration
from node.traitors.replicas import REPLICA_STRATEGIES
from orchestrator.scenario.document import TEXT_BYTES_MAX, decoded, from_yaml
from orchestrator.scenario.problems import Place, Problems, suggestion
from orchestrator.scenario.terms import Count, DeltaS, GeneralNumber, Line, Name, OutcomeName, slug
from orchestrator.scenario.timetable import FROZEN, Step, named
from orchestrator.scenario.written import tell

#: Moments that only lockstep protocols have.
_NO_MOMENTS = (Milestone.ROUND, "decided")


class Story(BaseModel):
    """`timeout`: after which backups move the view. `bound`: within it every operation is answered
    once the timetable is over and all is healed. `patience`: how long a moment may take to come."""

    model_config = FROZEN

    name: Name = "service"
    summary: Line = ""
    service: Literal["kv"]
    n: Annotated[StrictInt, Field(ge=REPLICAS_MIN, le=REPLICAS_MAX)] = 4
    clients: Annotated[StrictInt, Field(ge=1, le=16)] = 3
    timeout: DeltaS = 1.0
    bound: DeltaS = 20.0
    patience: DeltaS = 30.0
    durable: StrictBool = True
    seed: Count = 1
    traitors: dict[GeneralNumber, str] = {}
    chaos: tuple[Step, ...] = ()
    expect: OutcomeName | None = None

    @property
    def configuration(self) -> Configuration:
        """Short of nothing but time: windows so small that a run of seconds turns them over."""
        return Configuration(
            n=self.n, is_durable=self.durable, timeout_s=self.timeout, interval=16, window=32
        )


def load(path: Path) -> tuple[Story, bytes]:
    """The story of a file, and the file. ScenarioError with every problem, each at its place."""
    file, problems = str(path), Problems()
    try:
        with path.open("rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        problems.add(Place(file), f"cannot be read: {error.strerror}")
        problems.raise_any()
    text = decoded(data, file, problems)
    root = from_yaml(text, file, problems) if text is not None else None
    problems.raise_any()
    if root is None or not isinstance(root.content, dict):
        problems.add(Place(file, 1, 1), "a scenario is a mapping of fields")
        problems.raise_any()
    assert root is not None
    fields: Any = root.plain()
    try:
        story = Story.model_validate({"name": slug(path.stem)} | fields)
    except ValidationError as error:
        tell(error, root, problems)
        problems.raise_any()
        raise
    _check(story, lambda place, what: problems.add(root.place_of(place), what))
    problems.raise_any()
    return story, data


def _check(story: Story, complain: Any) -> None:
    """What takes several fields to see."""
    for replica, strategy in story.traitors.items():
        if replica >= story.n:
            complain(("traitors", replica), f"traitors: there is no replica {replica}")
        if strategy not in REPLICA_STRATEGIES:
            hint = suggestion(strategy, list(REPLICA_STRATEGIES))
            complain(("traitors", replica), f"traitors.{replica}: no such strategy{hint}")
    for number, step in enumerate(story.chaos):
        if step.at.what in _NO_MOMENTS:
            complain(("chaos", number), f"chaos.{number}: a service has no moment {step.at}")
        if beyond := [g for g in named(step) if g >= story.n]:
            complain(("chaos", number), f"chaos.{number}: there is no replica {beyond[0]}")
