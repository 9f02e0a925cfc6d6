"""Judges: which of two answers is better, by a teacher that reads both, by a reward, or by the exact checker."""

from typing import Annotated

from pydantic import Field

from arbitrage.judging.scored import ExactJudge, RewardJudge
from arbitrage.judging.teacher import TeacherJudge

JudgeConfig = Annotated[TeacherJudge | RewardJudge | ExactJudge, Field(discriminator="kind")]
