"""MLflow runs behind a local journal: training goes on when the tracking server does not."""

from covr.tracking.journal import Journal
from covr.tracking.runs import RunLogger, Tracking

__all__ = ["Journal", "RunLogger", "Tracking"]
