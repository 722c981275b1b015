"""python liandan/doctor/__main__.py [--json] [--install]

Runs before anything is installed, on a Python that has nothing but its standard library; an older Python is told so,
and this file keeps to what Python 3.6 understands. Exit code 1 when a finding is a FAIL.
"""

import sys

NEEDED = (3, 11)
USAGE = "usage: python liandan/doctor/__main__.py [--json] [--install]"


def too_old(version, arguments):  # type: ignore[no-untyped-def]
    """What to say to a Python that liandan does not run on."""
    have, need = ".".join(str(n) for n in version[:3]), ".".join(str(n) for n in NEEDED)
    text = f"liandan needs Python {need} or newer; this is {have} at {sys.executable}. Install a newer one, and start this file with it."
    if "--json" not in arguments:
        return text
    import json

    row = {"id": "python-old", "section": "system", "level": "fail", "what": text, "why": "", "do": "", "source": ""}
    return json.dumps({"facts": {"python": {"version": have}}, "findings": [row], "verdict": "fail"}, indent=2)


def main(arguments):  # type: ignore[no-untyped-def]
    """Print the report, or the commands that install; returns the exit code."""
    if sys.version_info < NEEDED:
        print(too_old(sys.version_info, arguments))
        return 1
    if not __package__:  # started by its path: the package is found above this file, and nothing beside it is taken for one
        import os

        here = os.path.dirname(os.path.abspath(__file__))
        sys.path[:] = [os.path.dirname(os.path.dirname(here)), *(folder for folder in sys.path if os.path.abspath(folder) != here)]
    from liandan.doctor.report import report

    unknown = [word for word in arguments if word not in ("--json", "--install")]
    if unknown:
        sys.stderr.write(USAGE + "\n")
        return 0 if unknown == ["--help"] else 2
    text, code = report(as_json="--json" in arguments, install="--install" in arguments)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
