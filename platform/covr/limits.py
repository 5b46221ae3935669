"""Every limit on outside input, in one object that every path uses."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds on what is accepted from outside; the defaults suit an endpoint on one machine."""

    max_body_bytes: int = 64 << 20
    """Largest HTTP body or clip file sent with a query."""
    body_timeout_s: float = 30.0
    """Time within which an HTTP body has arrived whole."""
    url_timeout_s: float = 15.0
    """Time within which a query's video has arrived from its URL."""
    max_redirects: int = 2
    """Most redirects that are followed to it."""
    max_file_bytes: int = 4 << 30
    """Largest video file read from a data set."""
    max_duration_s: float = 300.0
    """Longest stretch of video decoded as one clip, in seconds."""
    max_file_s: float = 4 * 3600.0
    """Longest video file that a data set may cut clips from, in seconds."""
    max_pixels: int = 3840 * 2160
    """Largest width x height of a frame."""
    max_frames: int = 256
    """Most frames returned by one decode."""
    max_decoded_bytes: int = 512 << 20
    """Most bytes of decoded frames returned by one decode."""
    decode_timeout_s: float = 10.0
    """Deadline of one decode; the process that misses it is ended."""
    file_timeout_s: float = 120.0
    """Deadline of looking a whole file over; a rendition of it may take four times its own length besides."""
    decode_memory_bytes: int = 2 << 30
    """Resident memory at which a decode process is replaced."""
    containers: tuple[str, ...] = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "image")
    """Demuxers allowed, as FFmpeg names them (`image`: JPEG, PNG and WebP files)."""
    codecs: tuple[str, ...] = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4")
    """Video codecs allowed, as FFmpeg names them."""
    max_text_chars: int = 2000
    """Longest modification text, in characters."""
    max_field_chars: int = 16 << 20
    """Longest field of an annotation file, in characters."""
    max_refinements: int = 16
    """Most sentences that a query refines."""
    max_k: int = 1000
    """Most answers to one query, or on one page of them."""
    max_offset: int = 100_000
    """Deepest rank at which a page of answers begins."""
    max_queries: int = 64
    """Most queries in one request."""
    max_exclude: int = 1000
    """Most clips that a query leaves out by id."""
    max_filter_depth: int = 5
    """Deepest nesting of a filter."""
    max_filter_leaves: int = 64
    """Most conditions in a filter."""
    max_filter_values: int = 1000
    """Most values that one condition lists."""


LIMITS = Limits()
JOB_LIMITS = replace(LIMITS, decode_timeout_s=60.0)
"""Of jobs: nobody waits for one clip, and other work may keep the CPUs busy."""
