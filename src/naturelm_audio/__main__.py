"""``python -m naturelm_audio`` is ``naturelm``."""

from naturelm_audio.cli import main

if __name__ == "__main__":
    main()
