"""A video becomes frames: sampling, decoding under limits, decoding in an expendable process."""

from covr.clips.decode import Clip, ClipInfo, decode, probe, version
from covr.clips.failure import DecodeFailure
from covr.clips.sampling import Sampling

__all__ = ["Clip", "ClipInfo", "DecodeFailure", "Sampling", "decode", "probe", "version"]
