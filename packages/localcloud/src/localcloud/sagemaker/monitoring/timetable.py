"""The due times of monitoring schedules, and time offsets.

Source: "Cron expressions for monitoring schedule" (SageMaker Developer Guide): hourly, every n hours from an hour on,
daily, and `NOW`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localcloud.sagemaker.errors import validation

_HOUR, _DAY = 3600, 86400
_CRON = re.compile(
    r"cron\(0 (\*|\d{1,2})(?:/(\d{1,2}))? \? \* \* \*\)|cron\(0 (\*|\d{1,2})(?:/(\d{1,2}))? \* \* \? \*\)"
)
_OFFSET = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
NOW = "NOW"


@dataclass(frozen=True)
class Timetable:
    """The hours of each day (UTC) at which a schedule is due."""

    hours: tuple[int, ...]

    @classmethod
    def parse(cls, expression: str) -> Timetable:
        """Parse a schedule expression.

        Raises:
            AwsError: ValidationException for an expression that Model Monitor does not accept.
        """
        found = _CRON.fullmatch(expression)
        if found is None:
            raise validation(
                f"Invalid ScheduleExpression {expression!r}: monitoring schedules are hourly (cron(0 * ? * * *)), "
                "every few hours (cron(0 0/6 ? * * *)), daily (cron(0 0 ? * * *)) or NOW"
            )
        first, step = found[1] or found[3], found[2] or found[4]
        start = 0 if first == "*" else int(first)
        if start > 23 or (step and not 1 <= int(step) <= 24):
            raise validation(f"Invalid ScheduleExpression {expression!r}: hours are 0 to 23, steps 1 to 24")
        if first == "*" and not step:
            return cls(tuple(range(24)))
        return cls(tuple(range(start, 24, int(step))) if step else (start,))

    def after(self, moment: float) -> float:
        """Return the first due time after `moment` (epoch seconds)."""
        day = int(moment // _DAY) * _DAY
        return next(
            float(due) for base in (day, day + _DAY) for hour in self.hours if (due := base + hour * _HOUR) > moment
        )

    def latest(self, moment: float) -> float:
        """Return the last due time at or before `moment` (epoch seconds)."""
        day = int(moment // _DAY) * _DAY
        return next(
            float(due)
            for base in (day, day - _DAY)
            for hour in reversed(self.hours)
            if (due := base + hour * _HOUR) <= moment
        )


def offset(text: str | None) -> float:
    """Return the seconds of an ISO 8601 duration such as `-PT1H` or `-P3D`.

    Raises:
        AwsError: ValidationException for another text.
    """
    if not text:
        return 0.0
    found = _OFFSET.fullmatch(text)
    if found is None:
        raise validation(f"Invalid time offset {text!r}: give an ISO 8601 duration such as -PT1H")
    days, hours, minutes, seconds = (int(found[index] or 0) for index in range(2, 6))
    return (-1 if found[1] else 1) * float(days * _DAY + hours * _HOUR + minutes * 60 + seconds)
