"""`folder`: one's own clips, from any folder of videos and the CSV files beside them."""

from covr.datasets.folder.reader import Folder

__all__ = ["Folder"]
