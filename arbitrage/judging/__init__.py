"""Judges compare two responses: a teacher that reads both, a reward model, or the exact checker."""

from typing import Annotated

from pydantic import Field

from arbitrage.judging.scored import ExactJudge, RewardJudge
from arbitrage.judging.teacher import TeacherJudge

JudgeConfig = Annotated[TeacherJudge | RewardJudge | ExactJudge, Field(discriminator="kind")]
