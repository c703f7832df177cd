"""The command `relu-regions`; its subcommands are in `relu_regions.apps.commands`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; what was wrong with its input is one line on standard error.

    Args:
        arguments: those of the command line by default.

    Returns:
        int: 0 if all went well, 2 if the input was wrong or something is not installed, 130 if interrupted.
    """
    try:
        # Imported here, so that a package that is missing ends in a message.
        from relu_regions.apps.commands import application

        code = application(args=None if arguments is None else list(arguments), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except ModuleNotFoundError as error:
        return _say(f'{error.name} is not installed; python -m pip install "relu-regions[demo]" brings it')
    except OSError as error:
        return _say(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except (ImportError, MemoryError, TypeError, ValueError) as error:
        return _say(str(error) or type(error).__name__)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        # A usage error, whose class differs between versions of typer.
        return _say(f"{error.format_message() or 'a command is missing.'} See relu-regions --help.")


def _say(message: str, code: int = 2) -> int:
    print("relu-regions: " + " ".join(message.split()), file=sys.stderr)
    return code
