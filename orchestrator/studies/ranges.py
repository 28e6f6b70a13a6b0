"""What a setting of a study may be: one of some choices, or anything from low to high."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

if TYPE_CHECKING:
    import optuna

Value = bool | int | float | str


class Choices(BaseModel):
    """One of these values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: list[Value] = Field(min_length=1)

    def corners(self) -> list[Value]:
        """Every choice."""
        return self.choices

    def suggest(self, trial: optuna.trial.BaseTrial, key: str) -> Value:
        """Let the sampler pick one."""
        return trial.suggest_categorical(key, self.choices)  # type: ignore[return-value]


class Interval(BaseModel):
    """All from low to high, both included; whole numbers where both are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ascends(self) -> Interval:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low}: a logarithmic range lies above 0")
        return self

    def corners(self) -> list[Value]:
        """Both ends."""
        return [self.low, self.high]

    def suggest(self, trial: optuna.trial.BaseTrial, key: str) -> Value:
        """Let the sampler pick a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


def _kind(value: Any) -> str:
    return "choices" if isinstance(value, (Choices, dict)) and "choices" in dict(value) else "interval"


Range = Annotated[Annotated[Choices, Tag("choices")] | Annotated[Interval, Tag("interval")], Discriminator(_kind)]
"""What one setting may be."""
