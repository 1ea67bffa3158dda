"""What the descriptions of all networks share."""

from dataclasses import asdict


class Config:
    """Base of the frozen dataclasses that describe networks."""

    def to_dict(self) -> dict:
        """Plain values, for JSON; the class called with them, as UNetConfig(**d), is the way back."""
        return asdict(self)

    def at_least(self, **least: int) -> None:
        """Raise ValueError naming the first of these fields that lies below its least value; a field that is None has none."""
        for name, lowest in least.items():
            if (value := getattr(self, name)) is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
