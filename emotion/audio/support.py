"""What the decoders of this machine can read."""

_CODECS = ("aac", "alac", "amrnb", "amrwb", "ac3", "opus", "vorbis", "wmav2", "adpcm_ms")


def decoder_versions() -> str:
    """Names and versions of both decoders; raises ImportError or OSError where one cannot be loaded."""
    import av
    import soundfile

    return f"libsndfile {soundfile.__libsndfile_version__}, PyAV {av.__version__}"


def missing_decoders() -> list[str]:
    """Codecs of the supported formats that PyAV's build lacks."""
    import av.codec

    def is_missing(name: str) -> bool:
        try:
            av.codec.Codec(name, "r")
        except ValueError:  # av's UnknownCodecError is one
            return True
        return False

    return [name for name in _CODECS if is_missing(name)]
