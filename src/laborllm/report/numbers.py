"""How numbers are written: significant digits, intervals, thousands."""

import math
from dataclasses import dataclass, replace

MISSING = "–"


@dataclass(frozen=True)
class Estimate:
    """One number with its uncertainty, as it stands in evaluation.csv, comparisons.csv or attainable.csv.

    Attributes:
        value: the estimate, in the metric's unit.
        std_error: in the same unit; None where there is none.
        low: lower end of the interval; None where there is none.
        high: upper end of the interval; None where there is none.
        person_years: behind the estimate; None where unknown.
        people: behind the estimate; None where unknown.
        band_low: lower end of the interval that holds for the whole family at once; None where there is none.
        band_high: its upper end.
        delta: standard error by the delta method, in the same unit; None where there is none.
    """

    value: float
    std_error: float | None = None
    low: float | None = None
    high: float | None = None
    person_years: int | None = None
    people: int | None = None
    band_low: float | None = None
    band_high: float | None = None
    delta: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval, None where one is missing or infinite."""
        if self.low is None or self.high is None or not math.isfinite(self.low + self.high):
            return None
        return self.low, self.high

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def band(self) -> "Estimate":
        """The same number with its simultaneous interval in place of its own."""
        return replace(self, low=self.band_low, high=self.band_high)

    @property
    def numbers(self) -> tuple[float | None, ...]:
        """Value, standard error, interval, person-years and people, as the files have them."""
        return self.value, self.std_error, self.low, self.high, self.person_years, self.people

    def flipped(self) -> "Estimate":
        """b - a where this is a - b."""

        def minus(end: float | None) -> float | None:
            return None if end is None else -end

        return replace(
            self,
            value=-self.value,
            low=minus(self.high),
            high=minus(self.low),
            band_low=minus(self.band_high),
            band_high=minus(self.band_low),
        )

    def as_mass(self) -> "Estimate":
        """exp of a mean log mass: the geometric mean of the mass; the standard error by the delta method."""
        low, high = (None if end is None else math.exp(end) for end in (self.low, self.high))
        value = math.exp(self.value)
        error = None if self.std_error is None else value * self.std_error
        return Estimate(value, error, low, high, self.person_years, self.people)


def decimals_of(value: float, digits: int = 3) -> int:
    """Decimals that leave ``digits`` significant digits, between 0 and 6.

    Examples:
        >>> decimals_of(8.1234), decimals_of(0.0213), decimals_of(1234.5)
        (2, 4, 0)
    """
    if not math.isfinite(value) or value == 0:
        return digits - 1
    return min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), 6)


def fixed(value: float | None, decimals: int) -> str:
    """A number with so many decimals, thousands separators and a true minus sign.

    Examples:
        >>> fixed(1234.5, 1), fixed(-0.25, 2), fixed(None, 1)
        ('1,234.5', '−0.25', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{decimals}f}"
    if text.strip("-0.,") == "":
        text = text.lstrip("-")
    return text.replace("-", "−")


def whole(value: int | float | None) -> str:
    """A count with thousands separators.

    Examples:
        >>> whole(12686)
        '12,686'
    """
    return MISSING if value is None else f"{int(value):,}"


def perplexity_decimals(value: float) -> int:
    """Two decimals below 100, so three to four significant digits; fewer above."""
    if not math.isfinite(value) or abs(value) < 100:
        return 2
    return 1 if abs(value) < 1000 else 0


def perplexity(value: float | None) -> str:
    """A perplexity to three or four significant digits.

    Examples:
        >>> perplexity(8.1234), perplexity(30.62), perplexity(345.678), perplexity(12345.6)
        ('8.12', '30.62', '345.7', '12,346')
    """
    return MISSING if value is None else fixed(value, perplexity_decimals(value))


def difference_decimals(estimate: Estimate) -> int:
    """Decimals that show two significant digits of the standard error, or three of the estimate without one."""
    if estimate.std_error and math.isfinite(estimate.std_error):
        return min(max(decimals_of(estimate.std_error, digits=2), 0), 4)
    return min(decimals_of(estimate.value), 4)


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as per cent.

    Examples:
        >>> percent(0.6234)
        '62.3%'
    """
    return MISSING if value is None else f"{fixed(100 * value, decimals)}%"


def interval(estimate: Estimate, decimals: int, *, scale: float = 1.0) -> str:
    """The interval in brackets, empty where there is none.

    Examples:
        >>> interval(Estimate(8.1, 0.1, 7.9, 8.3), 1)
        '[7.9, 8.3]'
    """
    if estimate.interval is None:
        return ""
    low, high = (fixed(scale * end, decimals) for end in estimate.interval)
    return f"[{low}, {high}]"


def interval_name(confidence: float) -> str:
    """What intervals of that confidence are called.

    Examples:
        >>> interval_name(0.95), interval_name(0.995)
        ('95% CI', '99.5% CI')
    """
    return f"{100 * confidence:g}% CI"


def standard_error(estimate: Estimate, decimals: int, *, scale: float = 1.0) -> str:
    """The standard error in parentheses, empty where there is none."""
    if estimate.std_error is None or not math.isfinite(estimate.std_error):
        return ""
    return f"({fixed(scale * estimate.std_error, decimals)})"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it.

    Examples:
        >>> seconds(0.42), seconds(75), seconds(5400)
        ('0.4 s', '75 s', '1 h 30 min')
    """
    if value is None:
        return MISSING
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
