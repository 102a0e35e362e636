"""Format numbers, sizes and durations for pages, plots and the terminal."""

from math import log10


def number(value: float | None, form: str = ".2f") -> str:
    sign = "+" if form.startswith("+") else ""
    return "–" if value is None else f"{value:{sign}z{form.removeprefix(sign)}}".replace("-", "−")


def size(count: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    step = min(int(log10(max(count, 1)) / 3), len(units) - 1)
    return f"{count / 1000**step:.{1 if step else 0}f} {units[step]}"


def duration(seconds: float) -> str:
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
