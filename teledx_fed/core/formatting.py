"""Format numbers, sizes and durations for pages, plots and the terminal."""

from math import log10


def number(value: float | None, form: str = ".2f") -> str:
    """Format a number with a true minus sign; a dash for None, and a plus where `form` starts with one."""
    sign = "+" if form.startswith("+") else ""
    return "–" if value is None else f"{value:{sign}z{form.removeprefix(sign)}}".replace("-", "−")


def size(count: float) -> str:
    """Format a number of bytes in decimal units, as `1.5 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    step = min(int(log10(max(count, 1)) / 3), len(units) - 1)
    return f"{count / 1000**step:.{1 if step else 0}f} {units[step]}"


def duration(seconds: float) -> str:
    """Format seconds as `4.2 s`, `3 min 05 s` or `2 h 07 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
